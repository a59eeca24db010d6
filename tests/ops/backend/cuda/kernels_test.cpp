// The CUDA kernels on tensor cores, run on the CPU (emulation.h), against the mixer's definition in double precision.
#include "tests/ops/backend/cuda/emulation.h"
//
#include "m2bert/ops/backend/cuda/mixer_monarch.cu"
#include "m2bert/ops/backend/cuda/mixer_toeplitz.cu"

#include <gtest/gtest.h>

#include <random>

namespace m2bert::ops::cuda {
namespace {

enum class Signal { noise, offset, spike };

struct Case {
  int L, B;
  bool bidirectional = true, residual = true, masked = false;
  Signal signal = Signal::noise;
};

// One channel, and two rows for a bias.
struct Mixer {
  Case c;
  std::vector<BFloat16> p, u, y;
  std::vector<float> filter = std::vector<float>(3 * SHORT_FILTER), k[2], k_rev[2];
  float D[2] = {0.7f, -1.3f};
  std::vector<int> lengths;

  explicit Mixer(const Case& values) : c(values) {
    std::mt19937 random(c.L * 7 + c.B);
    std::normal_distribution<float> normal;
    auto fill = [&](std::vector<BFloat16>& x, size_t n) {
      for (size_t i = 0; i < n; ++i) {
        float value = normal(random);
        if (c.signal == Signal::offset) value += 5;
        if (c.signal == Signal::spike) value = 0.01f * value + (int(i % c.L) == c.L / 3 ? 300 : 0);
        x.push_back(from_float<BFloat16>(value));
      }
    };
    fill(p, size_t(3) * c.B * c.L);
    fill(u, size_t(c.B) * c.L);
    y.assign(3 * u.size(), from_float<BFloat16>(777));
    for (auto& w : filter) w = to_float(from_float<BFloat16>(0.5f * normal(random)));
    for (int f = 0; f < 2; ++f) {
      for (auto* side : {&k[f], &k_rev[f]}) {
        for (int t = 0; t < c.L; ++t) side->push_back(normal(random) * std::exp(-4.0f * t / c.L) * 0.1f);
      }
    }
    for (int b = 0; b < c.B; ++b) lengths.push_back(c.masked ? c.L * (b + 1) / (c.B + 1) : c.L);
  }

  void check_bias_rows() const {
    for (size_t i = 0; i < 2 * u.size(); ++i) ASSERT_EQ(to_float(y[u.size() + i]), i < u.size() ? 1 : 0) << i;
  }
  double tap(int f, int lag) const {
    if (lag >= 0) return double(k[f][lag]) + (lag == 0 ? double(D[f]) : 0);
    return c.bidirectional ? k_rev[f][-lag - 1] : 0;
  }
  // Relative L2 error of y.
  double error() const {
    double difference = 0, norm = 0;
    for (int b = 0; b < c.B; ++b) {
      std::vector<double> parts[3];
      for (int i = 0; i < 3; ++i) {
        const BFloat16* row = p.data() + (size_t(i) * c.B + b) * c.L;
        const float* w = filter.data() + SHORT_FILTER * i;
        auto at = [&](int t) { return t < 0 ? double(w[4]) : double(to_float(row[t])); };
        for (int t = 0; t < c.L; ++t) parts[i].push_back(w[3] + w[0] * at(t - 2) + w[1] * at(t - 1) + w[2] * at(t));
      }
      const int step = c.L > 600 ? 13 : 1;  // long sequences are compared at some positions
      for (int t = 0; t < c.L; t += step) {
        double want = 0;
        for (int s = 0; s < lengths[b] && t < lengths[b]; ++s) {
          want += parts[1][t] * tap(0, t - s) * parts[0][s] * parts[2][s];
          if (c.residual) want += tap(1, t - s) * to_float(u[size_t(b) * c.L + s]);
        }
        const double d = want - to_float(y[size_t(b) * c.L + t]);
        difference += d * d, norm += want * want;
      }
    }
    return std::sqrt(difference / norm);
  }
};

template <int PARTS, typename Kernel>
double monarch_error(Kernel kernel, const Case& c) {
  Mixer m(c);
  constexpr MonarchSizes sizes{PARTS};
  const int n = sizes.size();
  std::vector<uint32_t> spectra(2 * n);
  std::vector<float> scales(2);
  for (int f = 0; f <= c.residual; ++f) {
    std::vector<float2> transform(n / 2 + 1);
    std::vector<double> cosines(n);
    for (int i = 0; i < n; ++i) cosines[i] = std::cos(2 * std::numbers::pi * i / n);
    for (int j = 0; j <= n / 2; ++j) {
      double re = 0, im = 0;
      for (int lag = 1 - c.L; lag < c.L; ++lag) {
        const int phase = int((int64_t(j) * (lag + n)) % n);
        re += m.tap(f, lag) * cosines[phase];
        im -= m.tap(f, lag) * cosines[(phase + 3 * n / 4) % n];
      }
      transform[j] = {float(re), float(im)};
    }
    emulation::launch({1, 1, 1}, 64, 64, [&] { mixer_monarch_spectra(transform.data(), spectra.data(), scales.data(), n, 1, 0, f); });
  }
  const auto constants = monarch_constants(PARTS);
  emulation::launch({unsigned(c.B + 1) / 2, 3, 1}, 32 * sizes.warps(), sizes.shared_bytes(), [&] {
    kernel(m.p.data(), m.u.data(), m.filter.data(), spectra.data(), scales.data(), constants.data(), m.lengths.data(), m.y.data(), 1, c.B,
           c.L, c.residual, c.masked);
  });
  m.check_bias_rows();
  return m.error();
}

constexpr double tolerance = 2.4e-3;  // of which 1.7e-3 is the rounding of the result

TEST(CudaMonarch, Length1024) {
  EXPECT_LT((monarch_error<8>(mixer_monarch_1024, {1, 3})), 4e-3);
  for (const int L : {513, 640, 1023, 1024}) EXPECT_LT((monarch_error<8>(mixer_monarch_1024, {L, 3})), tolerance) << L;
  for (const auto signal : {Signal::offset, Signal::spike}) {
    EXPECT_LT((monarch_error<8>(mixer_monarch_1024, {777, 2, true, true, true, signal})), tolerance) << int(signal);
  }
}
TEST(CudaMonarch, Length2048) {
  EXPECT_LT((monarch_error<16>(mixer_monarch_2048, {1, 3})), 4e-3);  // of three values
  for (const int L : {700, 1025, 2048}) EXPECT_LT((monarch_error<16>(mixer_monarch_2048, {L, 3})), tolerance) << L;
}
TEST(CudaMonarch, Signals) {
  for (const auto signal : {Signal::offset, Signal::spike}) {
    EXPECT_LT((monarch_error<16>(mixer_monarch_2048, {1500, 2, true, true, false, signal})), tolerance) << int(signal);
  }
}
TEST(CudaMonarch, Options) {
  for (const bool bidirectional : {false, true}) {
    for (const bool residual : {false, true}) {
      EXPECT_LT((monarch_error<16>(mixer_monarch_2048, {900, 2, bidirectional, residual, true})), tolerance) << bidirectional << residual;
    }
  }
}
TEST(CudaMonarch, Length4096) { EXPECT_LT((monarch_error<32>(mixer_monarch_4096, {2049, 2})), tolerance); }
TEST(CudaMonarch, Length8192) { EXPECT_LT((monarch_error<64>(mixer_monarch_8192, {4100, 1})), tolerance); }
// Too few positions for the CPU's time to matter; all of the kernel's 128 parts are computed.
TEST(CudaMonarch, Length16384) { EXPECT_LT((monarch_error<128>(mixer_monarch_16384, {600, 2})), tolerance); }

template <int TILES, typename Kernel>
double toeplitz_error(Kernel kernel, const Case& c) {
  Mixer m(c);
  const int length = 128 * TILES, size = 2 * length + 16;
  std::vector<BFloat16> taps(4 * size);
  for (int f = 0; f < 2; ++f) {
    emulation::launch({1, 1, 1}, 64, 0,
                      [&] { mixer_taps(m.k[f].data(), m.k_rev[f].data(), taps.data(), 1, c.L, length, f, c.bidirectional); });
  }
  emulation::launch({1, 3, 1}, 128, sizeof(typename Toeplitz<TILES>::Shared), [&] {
    kernel(m.p.data(), m.u.data(), m.filter.data(), taps.data(), m.D, m.lengths.data(), m.y.data(), 1, c.B, c.L, c.residual, c.masked, 2);
  });
  m.check_bias_rows();
  return m.error();
}

constexpr double toeplitz_tolerance = 5e-3;  // signal and taps are rounded to bfloat16 too

TEST(CudaToeplitz, Length128) {
  for (const int L : {1, 2, 3, 17, 127, 128}) EXPECT_LT((toeplitz_error<1>(mixer_toeplitz_128, {L, 3})), toeplitz_tolerance) << L;
}
TEST(CudaToeplitz, Length256) {
  for (const int L : {129, 200, 256}) EXPECT_LT((toeplitz_error<2>(mixer_toeplitz_256, {L, 2})), toeplitz_tolerance) << L;
}
TEST(CudaToeplitz, Length512) {
  for (const int L : {257, 511, 512}) EXPECT_LT((toeplitz_error<4>(mixer_toeplitz_512, {L, 5})), toeplitz_tolerance) << L;
}
TEST(CudaToeplitz, Options) {
  for (const bool bidirectional : {false, true}) {
    for (const bool residual : {false, true}) {
      EXPECT_LT((toeplitz_error<1>(mixer_toeplitz_128, {101, 3, bidirectional, residual, true})), toeplitz_tolerance)
          << bidirectional << residual;
    }
  }
}

}  // namespace
}  // namespace m2bert::ops::cuda
