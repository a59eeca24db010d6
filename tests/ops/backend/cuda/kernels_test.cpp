// The CUDA kernels on tensor cores, run on the CPU (emulation.h), against the mixer's definition in double precision.
#include "tests/ops/backend/cuda/emulation.h"
//
#include "m2bert/ops/backend/cuda/mixer_filter_gradient.cu"
#include "m2bert/ops/backend/cuda/mixer_local_gradient.cu"
#include "m2bert/ops/backend/cuda/mixer_monarch.cu"
#include "m2bert/ops/backend/cuda/mixer_monarch_spectra.cu"
#include "m2bert/ops/backend/cuda/mixer_outer_gradient.cu"
#include "m2bert/ops/backend/cuda/mixer_toeplitz.cu"
#include "m2bert/ops/backend/cuda/mixer_toeplitz_batch.cu"

#include <gtest/gtest.h>

#include <bit>
#include <complex>
#include <random>

namespace m2bert::ops::cuda {
namespace {

// constant: filters, too.
enum class Signal { noise, offset, spike, constant };

// ragged: of different lengths, the longest first, and one of them empty if there are many; from multiples of 8 columns, or without unused
// columns; spread: of few positions, from multiples of 96 columns.
enum class Lengths { equal, ragged, ragged_tight, spread };

struct Case {
  int L, B;
  bool bidirectional = true, residual = true;
  Lengths lengths = Lengths::equal;
  Signal signal = Signal::noise;
  bool reversed = false;  // the filters
};

// Two channels, of which the second one is compared, and two rows for a bias.
struct Mixer {
  static constexpr int H = 2, CHANNEL = 1;
  Case c;
  std::vector<BFloat16> p, u, y;
  std::vector<float> filter = std::vector<float>(SHORT_FILTER_ROWS * H * SHORT_FILTER), k[2], k_rev[2];
  std::vector<float> D[2] = {{0.2f, 0.7f}, {2.5f, -1.3f}};
  std::vector<int> begins, lengths, sequences;
  int row = 0;  // columns of a row

  explicit Mixer(const Case& values) : c(values) {
    std::mt19937 random(c.L * 7 + c.B);
    std::normal_distribution<float> normal;
    for (int b = 0; b < c.B; ++b) {
      begins.push_back(row);
      lengths.push_back(length_of(b));
      const int unit = c.lengths == Lengths::ragged ? 8 : c.lengths == Lengths::spread ? 96 : 1;
      row += (lengths[b] + unit - 1) / unit * unit;
      sequences.insert(sequences.end(), {begins[b], lengths[b]});
    }
    sequences.push_back(row);
    auto fill = [&](std::vector<BFloat16>& x, int rows) {
      x.assign(size_t(rows) * row, BFloat16{0x7fff});  // unused: not a number
      for (int i = 0; i < rows * c.B; ++i) {
        const int b = i % c.B;
        for (int t = 0; t < lengths[b]; ++t) {
          float value = normal(random);
          if (c.signal == Signal::offset) value += 5;
          if (c.signal == Signal::constant) value = 5;
          if (c.signal == Signal::spike) value = 0.01f * value + (t == c.L / 3 ? 300 : 0);
          x[size_t(i / c.B) * row + begins[b] + t] = from_float<BFloat16>(value);
        }
      }
    };
    fill(p, 3 * H);
    fill(u, H);
    y.assign(size_t(H + 2) * row, from_float<BFloat16>(777));
    for (int i = 0; i < 3 * H * SHORT_FILTER; ++i) filter[i] = to_float(from_float<BFloat16>(0.5f * normal(random)));
    for (int h = 0; h < H; ++h) filter[(3 * H + h) * SHORT_FILTER + 2] = filter[(4 * H + h) * SHORT_FILTER + 3] = 1;
    for (int f = 0; f < 2; ++f) {
      for (auto* side : {&k[f], &k_rev[f]}) {
        for (int i = 0; i < c.L * H; ++i) {
          const float value = normal(random) * std::exp(-4.0f * (i / H) / c.L) * 0.1f;
          side->push_back(c.signal == Signal::constant ? 1 : value);
        }
      }
    }
  }

  int length_of(int b) const {
    if (c.lengths == Lengths::equal || b == 0) return c.L;
    if (c.B > 3 && b == c.B - 1) return 0;
    return b + (c.B > 3 ? 2 : 1) == c.B ? 1 : c.L * (c.B - b) / c.B | 1;
  }
  // What the kernels get: 0 if there is no table of sequences.
  int columns() const { return c.lengths == Lengths::equal ? 0 : row; }
  // x1, x2 or v of the channel.
  const BFloat16* part(int i) const { return p.data() + size_t(i * H + CHANNEL) * row; }
  const float* short_filter(int i) const { return filter.data() + SHORT_FILTER * (i * H + CHANNEL); }
  const BFloat16* input() const { return u.data() + size_t(CHANNEL) * row; }
  const BFloat16* result() const { return y.data() + size_t(CHANNEL) * row; }

  void check_bias_rows() const {
    for (int i = 0; i < 2 * row; ++i) ASSERT_EQ(to_float(y[size_t(H) * row + i]), i < row ? 1 : 0) << i;
  }
  double tap(int f, int lag) const {
    auto of = [](const std::vector<float>& side, int t) { return double(side[size_t(t) * H + CHANNEL]); };
    if (lag >= 0) return of(k[f], lag) + (lag == 0 ? double(D[f][CHANNEL]) : 0);
    return c.bidirectional ? of(k_rev[f], -lag - 1) : 0;
  }
  // Relative L2 error of y.
  double error() const {
    double difference = 0, norm = 0;
    for (int b = 0; b < c.B; ++b) {
      std::vector<double> parts[3];
      for (int i = 0; i < 3; ++i) {
        const BFloat16* from = part(i) + begins[b];
        const float* w = short_filter(i);
        auto at = [&](int t) { return t < 0 ? double(w[4]) : double(to_float(from[t])); };
        for (int t = 0; t < lengths[b]; ++t) parts[i].push_back(w[3] + w[0] * at(t - 2) + w[1] * at(t - 1) + w[2] * at(t));
      }
      const int step = c.L > 600 ? 13 : 1;  // long sequences are compared at some positions
      for (int t = lengths[b]; t < sequences[2 * b + 2] - begins[b]; ++t) EXPECT_EQ(to_float(result()[begins[b] + t]), 0) << b << " " << t;
      for (int t = 0; t < lengths[b]; t += step) {
        double want = 0;
        for (int s = 0; s < lengths[b]; ++s) {
          const int lag = c.reversed ? s - t : t - s;
          want += parts[1][t] * tap(c.residual ? 0 : 1, lag) * parts[0][s] * parts[2][s];
          if (c.residual) want += tap(1, lag) * to_float(input()[begins[b] + s]);
        }
        const double d = want - to_float(result()[begins[b] + t]);
        difference += d * d, norm += want * want;
      }
    }
    return std::sqrt(difference / norm);
  }
};

using Complexes = std::vector<std::complex<double>>;

// The discrete Fourier transform of 2^k values.
Complexes transform(const Complexes& x) {
  const size_t n = x.size();
  if (n == 1) return x;
  Complexes halves[2], y(n);
  for (size_t i = 0; i < n; ++i) halves[i % 2].push_back(x[i]);
  for (auto& half : halves) half = transform(half);
  for (size_t i = 0; i < n / 2; ++i) {
    const auto odd = halves[1][i] * std::polar(1.0, -2 * std::numbers::pi * double(i) / double(n));
    y[i] = halves[0][i] + odd, y[i + n / 2] = halves[0][i] - odd;
  }
  return y;
}

template <int LENGTH, typename Kernel>
double monarch_error(Kernel kernel, const Case& c) {
  Mixer m(c);
  constexpr MonarchSizes sizes = core_sizes(LENGTH);
  constexpr int H = Mixer::H, channel = Mixer::CHANNEL, segments = segments_of(LENGTH), kinds = 2 * segments - 1;
  const int n = sizes.size();
  std::vector<float> lags(size_t(H * 2 * kinds) * n, 777);
  emulation::launch({unsigned(n) / 32, 2 * segments, 1}, 256, LagsTile::SHARED_BYTES, [&] {
    mixer_lags(m.k[0].data(), m.k_rev[0].data(), m.k[1].data(), m.k_rev[1].data(), m.D[0].data(), m.D[1].data(), lags.data(), H, c.L, n,
               segments, c.bidirectional);
  });
  std::vector<float2> spectrum(size_t(channel * 2 * kinds) * (n / 2 + 1), {0.3f, -0.2f});
  for (int i = 0; i < 2 * kinds; ++i) {
    Complexes taps(n);
    for (int j = 0; j < n; ++j) {
      auto tap = [&](int distance) {
        const int lag = (j < n / 2 ? j : j - n) + distance * sizes.positions();
        return std::abs(lag) < c.L ? m.tap(i / kinds, lag) : 0;
      };
      taps[j] = i % kinds == 0 ? tap(0) : 0.5 * (tap(1) + (i % kinds == 1 ? -1 : 1) * tap(-1));
      EXPECT_NEAR(lags[size_t(channel * 2 * kinds + i) * n + j], taps[j].real(), 1e-6) << i << " " << j;
    }
    const auto values = transform(taps);
    for (int j = 0; j <= n / 2; ++j) spectrum.push_back({float(values[j].real()), float(values[j].imag())});
  }
  std::vector<uint32_t> spectra(size_t(H * 2) * (segments * n + 1));
  std::vector<float> found_scales(H * 2);
  emulation::launch({2, H, 1}, SpectraScales::THREADS, SpectraScales::SHARED_BYTES,
                    [&] { mixer_monarch_scales(spectrum.data(), found_scales.data(), n, segments); });
  emulation::launch({unsigned(2 * segments * sizes.parts / SpectraTile::parts(sizes.parts)), H, 1}, 256, SpectraTile::SHARED_BYTES,
                    [&] { mixer_monarch_spectra(spectrum.data(), found_scales.data(), spectra.data(), n, segments); });
  const auto* scales = reinterpret_cast<const float*>(spectra.data() + size_t(H * 2) * segments * n);
  const auto constants = monarch_constants(sizes);
  emulation::launch({unsigned(segments == 2 ? c.B : (c.B + 1) / 2), H + 2, 1}, 32 * sizes.warps, sizes.shared_bytes(), [&] {
    kernel(m.p.data(), m.p.data(), m.p.data(), m.u.data(), m.filter.data(), spectra.data(), scales, constants.data(), m.sequences.data(),
           m.y.data(), H, c.B, c.L, 0, H, 2 * H, 0, H, 2 * H, m.columns(), c.residual, c.residual ? 0 : 1, c.reversed);
  });
  m.check_bias_rows();
  return m.error();
}

TEST(CudaMonarch, LagsOfManyChannels) {
  constexpr int H = 40, L = 70, size = 128;
  std::vector<float> sides[4], D(H), lags(size_t(H) * 2 * 3 * size, 777);
  for (auto& side : sides) {
    for (int i = 0; i < L * H; ++i) side.push_back(float(i % 97) + float(&side - sides) * 100);
  }
  for (int h = 0; h < H; ++h) D[size_t(h)] = 1000.0f * float(h);
  emulation::launch({size / 32, 2 * 2 * 2, 1}, 256, LagsTile::SHARED_BYTES, [&] {
    mixer_lags(sides[0].data(), sides[1].data(), sides[2].data(), sides[3].data(), D.data(), D.data(), lags.data(), H, L, size, 2, true);
  });
  for (int h = 0; h < H; ++h) {
    for (int filter = 0; filter < 2; ++filter) {
      auto tap = [&](int lag) {
        if (std::abs(lag) >= L) return 0.0f;
        return lag < 0 ? sides[2 * filter + 1][size_t((-lag - 1) * H + h)]
                       : sides[2 * filter][size_t(lag * H + h)] + (lag ? 0 : D[size_t(h)]);
      };
      for (int place = 0; place < size; ++place) {
        const int lag = place < size / 2 ? place : place - size;
        const float after = tap(lag + size / 2) / 2, before = tap(lag - size / 2) / 2;
        const float* found = lags.data() + size_t(h * 2 + filter) * 3 * size + place;
        EXPECT_EQ(found[0], tap(lag)) << h << " " << place;
        EXPECT_EQ(found[size], after - before) << h << " " << place;
        EXPECT_EQ(found[2 * size], after + before) << h << " " << place;
      }
    }
  }
}

constexpr double tolerance = 2.4e-3;  // of which 1.7e-3 is the rounding of the result

TEST(CudaMonarch, Length1024) {
  EXPECT_LT((monarch_error<1024>(mixer_monarch_1024, {1, 3})), 4e-3);
  for (const int L : {513, 640, 1023, 1024}) EXPECT_LT((monarch_error<1024>(mixer_monarch_1024, {L, 3})), tolerance) << L;
  for (const auto signal : {Signal::offset, Signal::spike}) {
    EXPECT_LT((monarch_error<1024>(mixer_monarch_1024, {777, 2, true, true, Lengths::equal, signal})), tolerance) << int(signal);
  }
}
TEST(CudaMonarch, Length2048) {
  EXPECT_LT((monarch_error<2048>(mixer_monarch_2048, {1, 3})), 4e-3);  // of three values
  for (const int L : {700, 1025, 2048}) EXPECT_LT((monarch_error<2048>(mixer_monarch_2048, {L, 3})), tolerance) << L;
}
TEST(CudaMonarch, Signals) {
  for (const auto signal : {Signal::offset, Signal::spike, Signal::constant}) {
    EXPECT_LT((monarch_error<2048>(mixer_monarch_2048, {1500, 2, true, true, Lengths::equal, signal})), tolerance) << int(signal);
  }
}
TEST(CudaMonarch, Options) {
  for (const bool bidirectional : {false, true}) {
    for (const bool residual : {false, true}) {
      EXPECT_LT((monarch_error<2048>(mixer_monarch_2048, {900, 2, bidirectional, residual})), tolerance) << bidirectional << residual;
    }
  }
}
TEST(CudaMonarch, DifferentLengths) {
  for (const auto lengths : {Lengths::ragged, Lengths::ragged_tight}) {
    for (const bool residual : {false, true}) {
      EXPECT_LT((monarch_error<1024>(mixer_monarch_1024, {777, 5, true, residual, lengths})), tolerance) << residual;
      EXPECT_LT((monarch_error<2048>(mixer_monarch_2048, {2048, 3, true, residual, lengths})), tolerance) << residual;
    }
    EXPECT_LT((monarch_error<4096>(mixer_monarch_4096, {2051, 2, false, true, lengths})), tolerance);
  }
  EXPECT_LT((monarch_error<16384>(mixer_monarch_16384, {601, 2, true, true, Lengths::ragged_tight})), tolerance);
  EXPECT_LT((monarch_error<32768>(mixer_monarch_32768, {16384 + 33, 2, true, true, Lengths::ragged})), 3e-3);
}
TEST(CudaMonarch, Reversed) {
  EXPECT_LT((monarch_error<2048>(mixer_monarch_2048, {1200, 2, true, true, Lengths::equal, Signal::noise, true})), tolerance);
  EXPECT_LT((monarch_error<2048>(mixer_monarch_2048, {1200, 2, false, false, Lengths::equal, Signal::noise, true})), tolerance);
}
TEST(CudaMonarch, Length4096) {
  for (const int L : {2049, 2056}) EXPECT_LT((monarch_error<4096>(mixer_monarch_4096, {L, 2})), tolerance) << L;
}
TEST(CudaMonarch, Length8192) {
  for (const int L : {4100, 4104}) EXPECT_LT((monarch_error<8192>(mixer_monarch_8192, {L, 1})), tolerance) << L;
}
// Two segments in one signal.
TEST(CudaMonarch, Segments) {
  for (const int L : {1, 100, 4096, 4097, 8192})
    EXPECT_LT((monarch_error<8192>(mixer_monarch_8192, {L, 1})), L == 1 ? 4e-3 : tolerance) << L;
  for (const auto signal : {Signal::offset, Signal::spike, Signal::constant}) {
    EXPECT_LT((monarch_error<8192>(mixer_monarch_8192, {8000, 1, true, true, Lengths::equal, signal})), tolerance) << int(signal);
  }
  for (const bool bidirectional : {false, true}) {
    for (const bool residual : {false, true}) {
      const Case c{5000, 2, bidirectional, residual, Lengths::ragged, Signal::noise, true};
      EXPECT_LT((monarch_error<8192>(mixer_monarch_8192, c)), tolerance) << bidirectional << residual;
    }
  }
}
TEST(CudaMonarch, Length16384) {
  EXPECT_LT((monarch_error<16384>(mixer_monarch_16384, {600, 2})), tolerance);
  EXPECT_LT((monarch_error<16384>(mixer_monarch_16384, {8192 + 9, 1, true, true, Lengths::equal, Signal::noise, true})), tolerance);
}
TEST(CudaMonarch, Length32768) {
  EXPECT_LT((monarch_error<32768>(mixer_monarch_32768, {16384 + 601, 1})), 3e-3);
  EXPECT_LT((monarch_error<32768>(mixer_monarch_32768, {32768, 1, true, true, Lengths::equal, Signal::constant})), 3e-3);
  EXPECT_LT((monarch_error<32768>(mixer_monarch_32768, {16384 + 8, 1, true, false, Lengths::equal, Signal::noise, true})), 3e-3);
}

// launch(taps, D): of one of the kernels of this length.
template <typename Launch>
double toeplitz_error(Mixer& m, int length, Launch launch) {
  constexpr int H = Mixer::H;
  const auto& c = m.c;
  const int size = tap_count(length);
  std::vector<uint32_t> packed(H * (2 * size + 2)), reversed(H * (2 * size + 2));
  emulation::launch({2, H, 1}, 64, 0, [&] {
    mixer_taps(m.k[0].data(), m.k_rev[0].data(), m.k[1].data(), m.k_rev[1].data(), m.D[0].data(), m.D[1].data(), packed.data(),
               reversed.data(), H, c.L, length, c.bidirectional);
  });
  const auto& taps = c.reversed ? reversed : packed;
  launch(reinterpret_cast<const BFloat16*>(taps.data()), reinterpret_cast<const float*>(taps.data() + H * 2 * size));
  m.check_bias_rows();
  return m.error();
}
double toeplitz_error(int length, const Case& c) {
  Mixer m(c);
  constexpr int H = Mixer::H;
  const ToeplitzSizes sizes{length};
  const auto kernel = length == 256 ? mixer_toeplitz_256 : mixer_toeplitz_512;
  return toeplitz_error(m, length, [&](const BFloat16* taps, const float* D) {
    const unsigned blocks = unsigned(c.B + sizes.WARPS - 1) / sizes.WARPS;
    emulation::launch({blocks, H + 2, 1}, 32 * sizes.WARPS, sizes.shared_bytes(), [&] {
      kernel(m.p.data(), m.p.data(), m.p.data(), m.u.data(), m.filter.data(), taps, D, m.sequences.data(), m.y.data(), H, c.B, c.L, 0, H,
             2 * H, 0, H, 2 * H, m.columns(), c.residual, c.residual ? 0 : 1);
    });
  });
}
// each: groups of sequences of a block.
double toeplitz_batch_error(int length, const Case& c, int each = 2) {
  Mixer m(c);
  constexpr int H = Mixer::H;
  const ToeplitzBatchSizes sizes{length};
  const auto kernel = length == 128 ? mixer_toeplitz_batch_128 : length == 256 ? mixer_toeplitz_batch_256 : mixer_toeplitz_batch_512;
  return toeplitz_error(m, length, [&](const BFloat16* taps, const float* D) {
    const int groups = (c.B + sizes.SEQUENCES - 1) / sizes.SEQUENCES;
    emulation::launch({unsigned((groups + each - 1) / each), H + 2, 1}, 32 * sizes.warps(), sizes.shared_bytes(), [&] {
      kernel(m.p.data(), m.p.data(), m.p.data(), m.u.data(), m.filter.data(), taps, D, m.sequences.data(), m.y.data(), H, c.B, c.L, 0, H,
             2 * H, 0, H, 2 * H, m.columns(), c.residual, c.residual ? 0 : 1, each);
    });
  });
}

constexpr double toeplitz_tolerance = 5e-3;  // signal and taps are rounded to bfloat16 too

TEST(CudaToeplitz, Length256) {
  for (const int L : {1, 129, 200, 256}) EXPECT_LT(toeplitz_error(256, {L, 2}), toeplitz_tolerance) << L;
}
TEST(CudaToeplitz, Length512) {
  for (const int L : {257, 511, 512}) EXPECT_LT(toeplitz_error(512, {L, 5}), toeplitz_tolerance) << L;
}
TEST(CudaToeplitz, DifferentLengths) {
  for (const auto lengths : {Lengths::ragged, Lengths::ragged_tight}) {
    for (const bool residual : {false, true}) {
      EXPECT_LT(toeplitz_error(256, {201, 4, true, residual, lengths}), toeplitz_tolerance) << residual;
      EXPECT_LT(toeplitz_error(512, {511, 5, false, residual, lengths}), toeplitz_tolerance) << residual;
    }
  }
}
TEST(CudaToeplitz, Reversed) {
  EXPECT_LT(toeplitz_error(256, {201, 3, true, true, Lengths::equal, Signal::noise, true}), toeplitz_tolerance);
  EXPECT_LT(toeplitz_error(512, {301, 3, false, false, Lengths::equal, Signal::noise, true}), toeplitz_tolerance);
}
TEST(CudaToeplitz, Options) {
  for (const bool bidirectional : {false, true}) {
    for (const bool residual : {false, true}) {
      EXPECT_LT(toeplitz_error(256, {201, 3, bidirectional, residual}), toeplitz_tolerance) << bidirectional << residual;
    }
  }
}

TEST(CudaToeplitzBatch, Length128) {
  for (const int L : {1, 2, 3, 8, 17, 64, 120, 127, 128}) EXPECT_LT(toeplitz_batch_error(128, {L, 3}), toeplitz_tolerance) << L;
  for (const int B : {1, 8, 9, 16, 17, 33}) EXPECT_LT(toeplitz_batch_error(128, {128, B}), toeplitz_tolerance) << B;
}
TEST(CudaToeplitzBatch, Length256) {
  for (const int L : {1, 40, 129, 200, 256}) EXPECT_LT(toeplitz_batch_error(256, {L, 9}), toeplitz_tolerance) << L;
}
TEST(CudaToeplitzBatch, Length512) {
  for (const int L : {257, 511, 512}) EXPECT_LT(toeplitz_batch_error(512, {L, 18}), toeplitz_tolerance) << L;
}
TEST(CudaToeplitzBatch, DifferentLengths) {
  for (const auto lengths : {Lengths::ragged, Lengths::ragged_tight}) {
    for (const bool residual : {false, true}) {
      for (const int B : {7, 17, 40}) {
        EXPECT_LT(toeplitz_batch_error(128, {128, B, true, residual, lengths}), toeplitz_tolerance) << residual << B;
        EXPECT_LT(toeplitz_batch_error(128, {101, B, true, residual, lengths}), toeplitz_tolerance) << residual << B;
      }
      EXPECT_LT(toeplitz_batch_error(256, {201, 20, true, residual, lengths}), toeplitz_tolerance) << residual;
      EXPECT_LT(toeplitz_batch_error(512, {511, 9, false, residual, lengths}), toeplitz_tolerance) << residual;
    }
  }
}
TEST(CudaToeplitzBatch, SeveralGroupsOfABlock) {
  for (const bool at_once : {false, true}) {
    copies_at_once = at_once;
    for (const auto lengths : {Lengths::equal, Lengths::ragged, Lengths::ragged_tight}) {
      EXPECT_LT(toeplitz_batch_error(128, {64, 100, true, true, lengths}, 4), toeplitz_tolerance) << int(lengths);
      EXPECT_LT(toeplitz_batch_error(256, {136, 50, true, true, lengths}, 3), toeplitz_tolerance) << int(lengths);
      EXPECT_LT(toeplitz_batch_error(512, {264, 50, true, true, lengths}, 3), toeplitz_tolerance) << int(lengths);
    }
  }
  copies_at_once = false;
}
// A few tokens with many unused columns behind them.
TEST(CudaToeplitzBatch, ZerosBehindSequences) {
  for (const int length : {128, 256, 512}) EXPECT_LT(toeplitz_batch_error(length, {9, 3, true, true, Lengths::spread}), toeplitz_tolerance);
}
TEST(CudaToeplitzBatch, SignalsOfSpikesAndOffsets) {
  for (const auto signal : {Signal::spike, Signal::offset}) {
    EXPECT_LT(toeplitz_batch_error(128, {128, 17, true, true, Lengths::equal, signal}), toeplitz_tolerance);
    EXPECT_LT(toeplitz_batch_error(512, {300, 9, true, true, Lengths::equal, signal}), toeplitz_tolerance);
  }
}
TEST(CudaToeplitzBatch, Reversed) {
  EXPECT_LT(toeplitz_batch_error(128, {101, 3, true, true, Lengths::equal, Signal::noise, true}), toeplitz_tolerance);
  EXPECT_LT(toeplitz_batch_error(512, {301, 8, false, false, Lengths::equal, Signal::noise, true}), toeplitz_tolerance);
}
TEST(CudaToeplitzBatch, Options) {
  for (const bool bidirectional : {false, true}) {
    for (const bool residual : {false, true}) {
      EXPECT_LT(toeplitz_batch_error(128, {101, 3, bidirectional, residual}), toeplitz_tolerance) << bidirectional << residual;
    }
  }
}

std::vector<BFloat16> random_values(size_t n, float scale, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<BFloat16> x;
  for (size_t i = 0; i < n; ++i) x.push_back(from_float<BFloat16>(normal(random)));
  return x;
}

// The relative L2 error of the gradients of both filters, given at each lag modulo n.
template <typename Lags>
double gradient_error(const Mixer& m, const std::vector<BFloat16>& dy, int n, Lags lags) {
  const auto& c = m.c;
  double difference = 0, norm = 0;
  for (int f = 0; f < (m.c.residual ? 2 : 1); ++f) {
    std::vector<std::vector<double>> in(c.B), out(c.B);
    for (int b = 0; b < c.B; ++b) {
      std::vector<double> parts[3];
      for (int i = 0; i < 3; ++i) {
        const BFloat16* from = m.part(i) + m.begins[b];
        const float* w = m.short_filter(i);
        auto at = [&](int t) { return t < 0 ? double(w[4]) : double(to_float(from[t])); };
        for (int t = 0; t < m.lengths[b]; ++t) parts[i].push_back(w[3] + w[0] * at(t - 2) + w[1] * at(t - 1) + w[2] * at(t));
      }
      for (int t = 0; t < m.lengths[b]; ++t) {
        const size_t at = size_t(m.begins[b]) + t;
        in[b].push_back(f ? to_float(m.input()[at]) : parts[0][t] * parts[2][t]);
        out[b].push_back(to_float(dy[size_t(Mixer::CHANNEL) * m.row + at]) * (f ? 1 : parts[1][t]));
      }
    }
    const int step = c.L > 600 ? 31 : 1;
    for (int lag = 1 - c.L; lag < c.L; lag += step) {
      double want = 0;
      for (int b = 0; b < c.B; ++b) {
        for (int t = std::max(0, lag); t < std::min(m.lengths[b], m.lengths[b] + lag); ++t) want += in[b][t - lag] * out[b][t];
      }
      const double d = want - lags(f, (lag + n) % n);
      difference += d * d, norm += want * want;
    }
  }
  return std::sqrt(difference / norm);
}

template <int LENGTH, typename Kernel>
double filter_gradient_error(Kernel kernel, const Case& c) {
  Mixer m(c);
  constexpr int H = Mixer::H, channel = Mixer::CHANNEL;
  const auto dy = random_values(size_t(H) * m.row, 0.01f, 9);
  constexpr MonarchSizes sizes = filter_gradient_sizes(LENGTH);
  const int n = sizes.size(), slot = std::min(int(std::bit_ceil(unsigned(std::max(2 * c.L, 16)))), sizes.positions());
  std::vector<float2> gradients(H * n, {777, 777});
  const auto constants = monarch_constants(sizes);
  std::vector<BFloat16> signals;
  if (sizes.groups > 1) {
    signals.assign(2 * H * size_t(m.row), from_float<BFloat16>(777));
    std::vector<BFloat16> dp(3 * H * size_t(m.row));
    std::vector<float> sums(3 * H * SHORT_FILTER);
    emulation::launch({1, H, 1}, 256, 8 * 15 * 4, [&] {
      mixer_local_gradient_gated_rows(m.p.data(), dy.data(), dy.data(), m.filter.data(), dy.data(), m.sequences.data(), dp.data(),
                                      sums.data(), signals.data(), H, c.B, c.L, m.columns());
    });
  }
  const auto* rows = sizes.groups > 1 ? signals.data() : m.p.data();
  emulation::launch({unsigned(sizes.groups), H, 1}, 32 * sizes.warps, sizes.shared_bytes(), [&] {
    kernel(rows, rows, rows, m.u.data(), m.filter.data(), dy.data(), constants.data(), m.sequences.data(), gradients.data(), H, c.B, c.L, 0,
           H, 2 * H, 0, H, 2 * H, m.columns(), c.residual ? 2 : 1, slot);
  });
  Complexes spectrum;
  for (int i = 0; i < n; ++i) spectrum.emplace_back(gradients[channel * n + i].x, gradients[channel * n + i].y);
  const auto lags = transform(spectrum);
  return gradient_error(m, dy, n, [&](int f, int lag) { return f ? lags[lag].imag() : lags[lag].real(); });
}

double outer_gradient_error(const Case& c) {
  Mixer m(c);
  constexpr int H = Mixer::H, channel = Mixer::CHANNEL;
  const auto dy = random_values(size_t(H) * m.row, 0.01f, 9);
  std::vector<float> lags(H * 2 * 256, 777);
  emulation::launch({2, H, 1}, OuterGradient::THREADS, OuterGradient::SHARED_BYTES, [&] {
    mixer_outer_gradient(m.p.data(), m.p.data(), m.p.data(), m.u.data(), m.filter.data(), dy.data(), m.sequences.data(), lags.data(), H,
                         c.B, c.L, 0, H, 2 * H, 0, H, 2 * H, m.columns());
  });
  return gradient_error(m, dy, 256, [&](int f, int lag) { return lags[256 * (channel * 2 + f) + lag]; });
}

TEST(CudaOuterGradient, EqualsItsDefinition) {
  for (const Case& c : {Case{1, 5}, Case{3, 40}, Case{17, 33}, Case{127, 19}, Case{128, 16}}) {
    EXPECT_LT(outer_gradient_error(c), 4e-3) << c.L << " " << c.B;
  }
  for (const auto signal : {Signal::offset, Signal::spike}) {
    EXPECT_LT(outer_gradient_error({100, 9, true, true, Lengths::equal, signal}), 4e-3) << int(signal);
  }
}

TEST(CudaOuterGradient, DifferentLengths) {
  for (const auto lengths : {Lengths::ragged, Lengths::ragged_tight}) {
    EXPECT_LT(outer_gradient_error({101, 21, true, true, lengths}), 4e-3);
  }
}

TEST(CudaFilterGradient, DifferentLengths) {
  for (const auto lengths : {Lengths::ragged, Lengths::ragged_tight}) {
    EXPECT_LT((filter_gradient_error<1024>(mixer_filter_gradient_1024, {201, 9, true, true, lengths})), 2e-3);
    EXPECT_LT((filter_gradient_error<2048>(mixer_filter_gradient_2048, {1501, 4, true, true, lengths})), 2e-3);
  }
}

TEST(CudaFilterGradient, Length1024) {
  for (const Case& c : {Case{1, 5}, Case{3, 40}, Case{17, 33}, Case{128, 19}, Case{129, 5}, Case{512, 3}, Case{513, 3}, Case{1024, 2}}) {
    EXPECT_LT((filter_gradient_error<1024>(mixer_filter_gradient_1024, c)), 2e-3) << c.L << " " << c.B;
  }
  for (const auto signal : {Signal::offset, Signal::spike}) {
    EXPECT_LT((filter_gradient_error<1024>(mixer_filter_gradient_1024, {100, 9, true, true, Lengths::equal, signal})), 2e-3) << int(signal);
  }
}
TEST(CudaFilterGradient, Length2048) {
  for (const int L : {2040, 2047}) EXPECT_LT((filter_gradient_error<2048>(mixer_filter_gradient_2048, {L, 3})), 2e-3) << L;
  EXPECT_LT((filter_gradient_error<2048>(mixer_filter_gradient_2048, {2000, 2, true, false})), 2e-3);
}
TEST(CudaFilterGradient, Length4096) {
  for (const int L : {2049, 2056}) EXPECT_LT((filter_gradient_error<4096>(mixer_filter_gradient_4096, {L, 3})), 2e-3) << L;
  EXPECT_LT((filter_gradient_error<4096>(mixer_filter_gradient_4096, {3000, 2, false, false})), 2e-3);
}
TEST(CudaFilterGradient, Length8192) {
  for (const int L : {4097, 4104}) EXPECT_LT((filter_gradient_error<8192>(mixer_filter_gradient_8192, {L, 1})), 2e-3) << L;
}
TEST(CudaFilterGradient, Length16384) {
  EXPECT_LT((filter_gradient_error<16384>(mixer_filter_gradient_16384, {8200, 3})), 3e-3);
  EXPECT_LT((filter_gradient_error<16384>(mixer_filter_gradient_16384, {8201, 1, true, false, Lengths::equal, Signal::spike})), 3e-3);
}
TEST(CudaFilterGradient, Length32768) {
  EXPECT_LT((filter_gradient_error<32768>(mixer_filter_gradient_32768, {32767, 3, true, true, Lengths::ragged})), 3e-3);
}

// Against the adjoint of each step, in double precision.
TEST(CudaLocalGradient, EqualsItsDefinition) {
  for (const auto& [L, B, lengths] : {std::tuple{1, 3, Lengths::equal},
                                      {2, 2, Lengths::equal},
                                      {7, 5, Lengths::equal},
                                      {8, 4, Lengths::equal},
                                      {96, 3, Lengths::equal},
                                      {130, 9, Lengths::equal},
                                      {520, 9, Lengths::equal},
                                      {1, 1, Lengths::ragged},
                                      {37, 5, Lengths::ragged},
                                      {130, 9, Lengths::ragged}}) {
    const Mixer m({L, B, true, true, lengths});
    constexpr int H = Mixer::H, channel = Mixer::CHANNEL;
    const size_t n = size_t(m.row);
    const auto dx2 = random_values(H * n, 1, 4), ds = random_values(H * n, 1, 5);
    std::vector<BFloat16> dp(3 * H * n, from_float<BFloat16>(777));
    constexpr int parts = 2;
    std::vector<float> sums(parts * 3 * H * SHORT_FILTER, 777);
    emulation::launch({parts, H, 1}, 256, 8 * 15 * 4, [&, L = L, B = B] {
      mixer_local_gradient(m.p.data(), dx2.data(), ds.data(), m.filter.data(), m.sequences.data(), dp.data(), sums.data(), H, B, L,
                           m.columns());
    });
    auto dp_beside_rows = dp;
    auto sums_beside_rows = sums;
    std::vector<BFloat16> rows(2 * H * n, from_float<BFloat16>(777));
    emulation::launch({parts, H, 1}, 256, 8 * 15 * 4, [&, L = L, B = B] {
      mixer_local_gradient_gated_rows(m.p.data(), dx2.data(), ds.data(), m.filter.data(), dx2.data(), m.sequences.data(),
                                      dp_beside_rows.data(), sums_beside_rows.data(), rows.data(), H, B, L, m.columns());
    });
    for (size_t i = 0; i < dp.size(); ++i) ASSERT_EQ(dp_beside_rows[i].bits, dp[i].bits) << L << " " << i;
    EXPECT_EQ(sums_beside_rows, sums) << L;
    std::vector<double> want_p(3 * n), want_sums(3 * SHORT_FILTER), want_rows(2 * n);
    for (int b = 0; b < B; ++b) {
      const size_t begin = m.begins[b];
      auto at = [&](int i, int t) { return t < 0 ? double(m.short_filter(i)[4]) : to_float(m.part(i)[begin + t]); };
      auto local = [&](int i, int t) {
        const float* w = m.short_filter(i);
        return w[3] + w[0] * at(i, t - 2) + w[1] * at(i, t - 1) + w[2] * at(i, t);
      };
      for (int t = 0; t < m.lengths[b]; ++t) {
        const size_t place = channel * n + begin + t;
        const double s = to_float(ds[place]), d[3] = {s * local(2, t), to_float(dx2[place]), s * local(0, t)};
        want_rows[begin + t] = local(0, t) * local(2, t), want_rows[n + begin + t] = local(1, t) * d[1];
        for (int i = 0; i < 3; ++i) {
          double* sum = want_sums.data() + SHORT_FILTER * i;
          for (int tap = 0; tap < 3; ++tap) {
            const double w = m.short_filter(i)[tap];
            const int from = t + tap - 2;
            sum[tap] += d[i] * at(i, from);
            (from < 0 ? sum[4] : want_p[i * n + begin + from]) += d[i] * w;
          }
          sum[3] += d[i];
        }
      }
    }
    for (size_t i = 0; i < 3 * n; ++i) {
      const float found = to_float(dp[(i / n * H + channel) * n + i % n]);
      ASSERT_NEAR(found, want_p[i], 4e-3 * std::abs(want_p[i]) + 1e-4) << L << " " << i;
    }
    for (size_t i = 0; i < 2 * n; ++i) {
      const float found = to_float(rows[(i / n * H + channel) * n + i % n]);
      ASSERT_NEAR(found, want_rows[i], 4e-3 * std::abs(want_rows[i]) + 1e-4) << L << " " << i;
    }
    for (int i = 0; i < 3 * SHORT_FILTER; ++i) {
      const int place = (i / SHORT_FILTER * H + channel) * SHORT_FILTER + i % SHORT_FILTER;
      EXPECT_NEAR(sums[place] + sums[3 * H * SHORT_FILTER + place], want_sums[i], 1e-4 * (1 + std::abs(want_sums[i]))) << L << " " << i;
    }
  }
}

}  // namespace
}  // namespace m2bert::ops::cuda
