// The CUDA kernels of small arrays (a mixer's weights, norms, casts, transposes), run on the CPU (emulation.h), against their definitions.
#include "tests/ops/backend/cuda/emulation.h"
//
#include "m2bert/ops/backend/cuda/cast_arrays.cu"
#include "m2bert/ops/backend/cuda/mixer_weights.cu"
#include "m2bert/ops/backend/cuda/norm_parameters.cu"
#include "m2bert/ops/backend/cuda/transpose.cu"

#include <gtest/gtest.h>

#include <random>

namespace m2bert::ops::cuda {
namespace {

// Random values of either dtype.
struct Scalars {
  bool wide;
  std::vector<float> floats;
  std::vector<BFloat16> halves;

  Scalars(size_t n, bool is_wide, unsigned seed) : wide(is_wide) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < n; ++i) floats.push_back(normal(random)), halves.push_back(from_float<BFloat16>(floats.back()));
    for (size_t i = 0; i < n && !wide; ++i) floats[i] = to_float(halves[i]);
  }
  void* data() { return wide ? static_cast<void*>(floats.data()) : halves.data(); }
  float operator[](size_t i) const { return wide ? floats[i] : to_float(halves[i]); }
  float tolerance(double value) const { return float(std::abs(value)) * (wide ? 1e-5f : 4e-3f) + 1e-6f; }
};

constexpr int H = 37;

TEST(CudaTranspose, MovesEveryValue) {
  for (const auto& [rows, columns] : {std::pair{1, 1}, {3, 70}, {64, 32}, {33, 31}, {100, 1}}) {
    std::vector<float> x(size_t(rows * columns)), y(x.size(), -1);
    for (size_t i = 0; i < x.size(); ++i) x[i] = float(i);
    std::vector<BFloat16> narrow, narrow_y(x.size());
    for (const float v : x) narrow.push_back({uint16_t(v)});
    const emulation::Index grid{unsigned(columns + 31) / 32, unsigned(rows + 31) / 32, 1};
    emulation::launch(grid, 256, 32 * 33 * 4, [&] { transpose_float32(x.data(), y.data(), rows, columns); });
    emulation::launch(grid, 256, 32 * 33 * 2, [&] { transpose_bfloat16(narrow.data(), narrow_y.data(), rows, columns); });
    for (int r = 0; r < rows; ++r) {
      for (int c = 0; c < columns; ++c) {
        const size_t to = size_t(r * columns + c), from = size_t(c * rows + r);
        EXPECT_EQ(y[to], x[from]) << rows << " " << columns;
        EXPECT_EQ(narrow_y[to].bits, narrow[from].bits) << rows << " " << columns;
      }
    }
  }
}

TEST(CudaShortFilter, EqualsItsDefinition) {
  for (const int wide : {0, 5, 7}) {
    for (const bool biased : {false, true}) {
      Scalars weight(9 * H, wide & 1, 1), bias(3 * H, wide & 2, 2), in_bias(3 * H, wide & 4, 3);
      std::vector<float> filter(SHORT_FILTER_ROWS * H * SHORT_FILTER, 777);
      emulation::launch({2, 1, 1}, 128, 0,
                        [&] { mixer_short_filter(weight.data(), bias.data(), in_bias.data(), filter.data(), H, wide, biased); });
      for (int row = 0; row < SHORT_FILTER_ROWS * H; ++row) {
        float want[SHORT_FILTER] = {};
        if (row >= 3 * H) {
          want[row < 4 * H ? 2 : 3] = 1;
        } else {
          const float b = biased ? in_bias[size_t(row)] : 0;
          for (int i = 0; i < 3; ++i) want[i] = weight[size_t(3 * row + i)];
          want[3] = bias[size_t(row)] + b * (want[0] + want[1] + want[2]), want[4] = -b;
        }
        for (int i = 0; i < SHORT_FILTER; ++i) EXPECT_NEAR(filter[size_t(row * SHORT_FILTER + i)], want[i], 1e-5) << row << " " << i;
      }
    }
  }
}

// By the chain rule for its taps, bias b + in_bias (w0 + w1 + w2), and what is before position 0, -in_bias.
TEST(CudaShortFilter, Gradient) {
  constexpr int parts = 3;
  for (const int wide : {0, 7}) {
    Scalars weight(9 * H, wide & 1, 1), bias(3 * H, wide & 2, 2), in_bias(3 * H, wide & 4, 3);
    Scalars sums(size_t(parts) * 3 * H * SHORT_FILTER, true, 4), dweight = weight, dbias = bias, din_bias = in_bias;
    emulation::launch({1, 1, 1}, 128, 0, [&] {
      mixer_short_filter_gradient(sums.floats.data(), weight.data(), in_bias.data(), dweight.data(), dbias.data(), din_bias.data(), H,
                                  parts, wide, true);
    });
    for (int row = 0; row < 3 * H; ++row) {
      double d[5] = {};
      for (int part = 0; part < parts; ++part) {
        for (int i = 0; i < 5; ++i) d[i] += sums[size_t((part * 3 * H + row) * SHORT_FILTER + i)];
      }
      double taps = 0;
      for (int i = 0; i < 3; ++i) {
        const double want = d[i] + d[3] * in_bias[size_t(row)];
        EXPECT_NEAR(dweight[size_t(3 * row + i)], want, dweight.tolerance(want));
        taps += weight[size_t(3 * row + i)];
      }
      EXPECT_NEAR(dbias[size_t(row)], d[3], dbias.tolerance(d[3]));
      EXPECT_NEAR(din_bias[size_t(row)], d[3] * taps - d[4], din_bias.tolerance(std::abs(d[3] * taps) + std::abs(d[4])));
    }
  }
}

TEST(CudaOutWeight, ForwardAndGradient) {
  for (const int wide : {0, 2, 3}) {
    constexpr int columns = 41;
    Scalars x(size_t(H) * columns, wide & 1, 1), bias(H, wide & 2, 2), y(size_t(H) * (columns + BIAS_ROWS), wide & 1, 3);
    Scalars dx = x, dbias = bias;
    emulation::launch({1, H, 1}, 32, 0, [&] { mixer_out_weight(x.data(), bias.data(), y.data(), columns, wide); });
    emulation::launch({1, H, 1}, 32, 0, [&] { mixer_out_weight_gradient(y.data(), dx.data(), dbias.data(), columns, wide); });
    for (int row = 0; row < H; ++row) {
      for (int i = 0; i < columns + BIAS_ROWS; ++i) {
        const float found = y[size_t(row * (columns + BIAS_ROWS) + i)];
        const float want = i < columns ? x[size_t(row * columns + i)] : i == columns ? bias[size_t(row)] : 0;
        EXPECT_NEAR(found, want, y.tolerance(want));
        if (i < columns) {
          EXPECT_EQ(dx[size_t(row * columns + i)], found);
        }
        if (i == columns) {
          EXPECT_NEAR(dbias[size_t(row)], found, dbias.tolerance(found));
        }
      }
    }
  }
}

TEST(CudaFilterGradients, TakeTheirLags) {
  for (const auto& [L, n, filters, interleaved, bidirectional] : {std::tuple{1, 256, 2, false, true},
                                                                  {33, 256, 2, false, true},
                                                                  {40, 256, 1, false, true},
                                                                  {100, 256, 2, true, false},
                                                                  {128, 256, 2, true, true},
                                                                  {70, 256, 1, true, true}}) {
    const Scalars lags(size_t(H) * 2 * n, true, 1);
    std::vector<float> dk[2], dk_rev[2], dD[2];
    for (int f = 0; f < 2; ++f) {
      for (auto* a : {&dk[f], &dk_rev[f]}) a->assign(size_t(L) * H, 777);
      dD[f].assign(H, 777);
    }
    emulation::launch({unsigned(L + 31) / 32, (H + 31) / 32, 1}, 256, 32 * 33 * 4,
                      [&, L = L, n = n, filters = filters, interleaved = interleaved, b = bidirectional] {
                        mixer_filter_gradients(lags.floats.data(), dk[0].data(), dD[0].data(), dk_rev[0].data(), dk[1].data(), dD[1].data(),
                                               dk_rev[1].data(), H, L, n, filters, interleaved, b);
                      });
    for (int f = 0; f < 2; ++f) {
      for (int h = 0; h < H; ++h) {
        auto lag = [&, n = n, filters = filters, interleaved = interleaved](int t) {
          const int place = (t + n) % n;
          return lags[size_t(interleaved ? (h * n + place) * 2 + f : (h * filters + f) * n + place)];
        };
        const bool written = f < filters;
        EXPECT_EQ(dD[f][size_t(h)], written ? lag(0) : 777);
        for (int t = 0; t < L; ++t) {
          EXPECT_EQ(dk[f][size_t(t * H + h)], written ? lag(t) : 777);
          EXPECT_EQ(dk_rev[f][size_t(t * H + h)], !written || !bidirectional ? 777 : t < L - 1 ? lag(-1 - t) : 0);
        }
      }
    }
  }
}

TEST(CudaCastArrays, BothWays) {
  std::vector<Scalars> from, to;
  int n[16], parts = 0;
  for (int i = 0; i < 16; ++i) {
    n[i] = i == 3 ? 0 : i == 5 ? 2 * ARRAY_PART + 1 : 1 + 70 * i;
    parts += parts_of(n[i]);
    from.emplace_back(size_t(n[i] + 2), true, unsigned(i)), to.emplace_back(size_t(n[i] + 2), false, 100u);
  }
  auto back = from;
  for (auto& a : back) std::ranges::fill(a.floats, 777.0f);
  // Some begin with the second value, which is not aligned.
  auto wide_begin = [](size_t a) { return a % 2; };
  auto narrow_begin = [](size_t a) { return size_t(a % 4 == 2); };
#define FROM(i) static_cast<float*>(from[i].data()) + wide_begin(i)
#define TO(i) static_cast<BFloat16*>(to[i].data()) + narrow_begin(i)
#define BACK(i) static_cast<float*>(back[i].data()) + wide_begin(i)
#define SIZE(i) n[i]
  emulation::launch({unsigned(parts), 1, 1}, PART_THREADS, 0,
                    [&] { cast_arrays(EACH_OF_16(FROM), EACH_OF_16(TO), false, EACH_OF_16(SIZE)); });
  emulation::launch({unsigned(parts), 1, 1}, PART_THREADS, 0,
                    [&] { cast_arrays(EACH_OF_16(TO), EACH_OF_16(BACK), true, EACH_OF_16(SIZE)); });
  for (size_t a = 0; a < 16; ++a) {
    for (size_t i = 0; i < size_t(n[a]); ++i) {
      const float narrow = to[a][narrow_begin(a) + i];
      EXPECT_EQ(narrow, to_float(from_float<BFloat16>(from[a][wide_begin(a) + i])));
      EXPECT_EQ(back[a][wide_begin(a) + i], narrow);
    }
    EXPECT_EQ(back[a][wide_begin(a) + size_t(n[a])], 777);
  }
}

TEST(CudaNormParameters, ForwardAndGradients) {
  constexpr int parts = 19;
  for (const int wide : {0, 3, 7}) {
    for (const bool biased : {false, true}) {
      Scalars bias(H, wide & 1, 1), weight(H, wide & 2, 2), norm_bias(H, wide & 4, 3);
      const Scalars sums(size_t(parts) * 3 * H, true, 4);
      auto dbias = bias, dweight = weight, dnorm_bias = norm_bias;
      std::vector<float> y(3 * H, 777);
      emulation::launch({1, 1, 1}, 64, 0,
                        [&] { norm_parameters(bias.data(), weight.data(), norm_bias.data(), y.data(), H, wide, biased); });
      emulation::launch({2, 1, 1}, 256, 8 * 3 * 32 * 4, [&] {
        norm_parameter_gradients(sums.floats.data(), dbias.data(), dweight.data(), dnorm_bias.data(), H, parts, wide, biased);
      });
      for (size_t h = 0; h < H; ++h) {
        EXPECT_EQ(y[h], biased ? bias[h] : 0);
        EXPECT_EQ(y[H + h], weight[h]);
        EXPECT_EQ(y[2 * H + h], norm_bias[h]);
        double want[3] = {};
        for (size_t part = 0; part < parts; ++part) {
          for (size_t i = 0; i < 3; ++i) want[i] += sums[(part * 3 + i) * H + h];
        }
        EXPECT_NEAR(dweight[h], want[0], dweight.tolerance(want[0]) + 1e-5);
        EXPECT_NEAR(dnorm_bias[h], want[1], dnorm_bias.tolerance(want[1]) + 1e-5);
        EXPECT_NEAR(dbias[h], biased ? want[2] : bias[h], dbias.tolerance(want[2]) + 1e-5);
      }
    }
  }
}

}  // namespace
}  // namespace m2bert::ops::cuda
