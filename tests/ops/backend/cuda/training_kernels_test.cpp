// The CUDA kernels of the loss, the embeddings and the optimizer, run on the CPU (emulation.h), against their definitions.
#include "tests/ops/backend/cuda/emulation.h"
//
#include "m2bert/ops/backend/cuda/adamw.cu"
#include "m2bert/ops/backend/cuda/cross_entropy.cu"
#include "m2bert/ops/backend/cuda/dropout.cu"
#include "m2bert/ops/backend/cuda/embedding_gradient.cu"
#include "m2bert/ops/backend/cuda/filter_network.cu"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

namespace m2bert::ops::cuda {
namespace {

std::vector<float> floats(size_t n, float scale, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> x(n);
  for (auto& value : x) value = normal(random);
  return x;
}
std::vector<BFloat16> halves(size_t n, float scale, unsigned seed) {
  std::vector<BFloat16> x;
  for (const float value : floats(n, scale, seed)) x.push_back(from_float<BFloat16>(value));
  return x;
}

unsigned parts_of_all(const int (&n)[32]) {
  int parts = 0;
  for (const int size : n) parts += parts_of(size);
  return unsigned(parts);
}

// 32 arrays, of which some are empty. In array a, pointer a % 8 is not aligned to 16 bytes, of value, gradient, m, v and the new values.
struct AdamWArrays {
  static constexpr int POINTERS = 7;
  int n[32] = {300, 7, 1, 0, 256, ARRAY_PART + 257, 0, 3, 2 * ARRAY_PART, 5};
  std::vector<float> arrays[POINTERS][32];
  float keep[32], rate[32];

  AdamWArrays() {
    for (int a = 16; a < 24; ++a) n[a] = 37;
    n[31] = 9;
    for (int a = 0; a < 32; ++a) {
      for (int k = 0; k < POINTERS; ++k) {
        auto& x = arrays[k][a];
        x = floats(size_t(n[a]) + 2, k == 1 ? 3 : 1, unsigned(10 * a + k));
        for (float& value : x) value = k == 3 ? value * value : k > 3 ? 777 : value;
      }
      keep[a] = 1 - 0.01f * float(a), rate[a] = 0.1f * float(a % 8 + 1);
    }
  }
  float* at(int k, int a) { return arrays[k][a].data() + (a % 8 == k); }
};
#define INPUTS(i) x.at(0, i), x.at(1, i), x.at(2, i), x.at(3, i)
#define OUTPUTS(i) x.at(4, i), x.at(5, i), x.at(6, i)
#define NUMBERS(i) x.n[i], x.keep[i], x.rate[i]

TEST(CudaAdamW, EqualsItsDefinition) {
  const float scale = 0.5;
  const double limit = 1.2, beta1 = 0.9, beta2 = 0.98, eps = 1e-6, root = 1.7;
  for (const bool in_place : {false, true}) {
    AdamWArrays x, before;
    float none = 777;
    emulation::launch({parts_of_all(x.n), 1, 1}, PART_THREADS, 0, [&] {
      if (in_place) {
        adamw_in_place(EACH_OF_32(INPUTS), &scale, &none, limit, beta1, beta2, eps, root, EACH_OF_32(NUMBERS));
      } else {
        adamw(EACH_OF_32(INPUTS), &scale, EACH_OF_32(OUTPUTS), limit, beta1, beta2, eps, root, EACH_OF_32(NUMBERS));
      }
    });
    const int value = in_place ? 0 : 4, m = in_place ? 2 : 5, v = in_place ? 3 : 6;
    for (int a = 0; a < 32; ++a) {
      for (int i = 0; i < x.n[a]; ++i) {
        auto old = [&](int k) { return double(before.at(k, a)[i]); };
        const double g = std::clamp(scale * old(1), -limit, limit), first = beta1 * old(2) + (1 - beta1) * g;
        const double second = beta2 * old(3) + (1 - beta2) * g * g;
        ASSERT_NEAR(x.at(m, a)[i], first, 1e-6) << a;
        ASSERT_NEAR(x.at(v, a)[i], second, 1e-6 * (1 + second)) << a;
        const double want = x.keep[a] * old(0) - x.rate[a] * first / (std::sqrt(second) * root + eps);
        ASSERT_NEAR(x.at(value, a)[i], want, 1e-5 * (1 + std::abs(want))) << a;
      }
      for (const int k : {value, m, v}) EXPECT_EQ(x.at(k, a)[x.n[a]], before.at(k, a)[x.n[a]]) << a;  // behind the array
    }
    EXPECT_EQ(none, 777);
  }
}

// Into new arrays the old values are copied; in place nothing is written.
TEST(CudaAdamW, KeepsEverythingIfTheScaleIsNaN) {
  const float scale = NAN;
  AdamWArrays x;
  const AdamWArrays before;
  emulation::launch({parts_of_all(x.n), 1, 1}, PART_THREADS, 0,
                    [&] { adamw(EACH_OF_32(INPUTS), &scale, EACH_OF_32(OUTPUTS), 1, 0.9f, 0.9f, 0, 1, EACH_OF_32(NUMBERS)); });
  for (int a = 0; a < 32; ++a) {
    for (const auto& [now, old] : {std::pair(4, 0), {5, 2}, {6, 3}}) {
      EXPECT_TRUE(std::equal(x.at(now, a), x.at(now, a) + x.n[a], x.at(old, a))) << a;
      EXPECT_EQ(x.at(now, a)[x.n[a]], 777);
    }
  }
  float none = 777;
  emulation::launch({parts_of_all(x.n), 1, 1}, PART_THREADS, 0,
                    [&] { adamw_in_place(EACH_OF_32(INPUTS), &scale, &none, 1, 0.9f, 0.9f, 0, 1, EACH_OF_32(NUMBERS)); });
  for (int k = 0; k < 4; ++k) {
    for (int a = 0; a < 32; ++a) EXPECT_EQ(x.arrays[k][a], before.arrays[k][a]) << k << " " << a;
  }
}

TEST(CudaSumOfSquares, EqualsItsDefinition) {
  std::vector<std::vector<float>> x;
  int n[32];
  for (int i = 0; i < 32; ++i)
    n[i] = i == 5 ? 0 : i == 9 ? 2 * ARRAY_PART + 3 : 1 + 83 * i, x.push_back(floats(size_t(n[i] + 2), 1, unsigned(i)));
  std::vector<float> sums(parts_of_all(n), -1);
#define POINTER(i) x[i].data()
#define SIZE(i) n[i]
#define MAYBE_UNALIGNED(i) x[i].data() + i % 2
  emulation::launch({parts_of_all(n), 1, 1}, PART_THREADS, 32,
                    [&] { sum_of_squares(EACH_OF_32(MAYBE_UNALIGNED), sums.data(), EACH_OF_32(SIZE)); });
  auto part = sums.begin();
  for (size_t i = 0; i < 32; ++i) {
    const float* values = MAYBE_UNALIGNED(i);
    const double want = std::inner_product(values, values + n[i], values, 0.0);
    double found = 0;
    for (int k = 0; k < parts_of(n[i]); ++k) found += *part++;
    EXPECT_NEAR(found, want, 1e-5 * want) << i;
  }
}

TEST(CudaFlattenArrays, PutsThemOneAfterAnother) {
  std::vector<std::vector<float>> x;
  std::vector<float> expected;
  int n[32];
  for (int i = 0; i < 32; ++i) {
    n[i] = i == 0 || i == 7 || i > 29 ? 0 : i == 3 || i == 20 ? ARRAY_PART + 36 * i : 1 + 45 * i;
    x.push_back(floats(size_t(n[i] + 1), 1, unsigned(i)));
    expected.insert(expected.end(), x.back().begin(), x.back().end() - 1);
  }
  std::vector<float> y(expected.size() + 1, 777);
  emulation::launch({parts_of_all(n), 1, 1}, PART_THREADS, 0, [&] { flatten_arrays(EACH_OF_32(POINTER), y.data(), EACH_OF_32(SIZE)); });
  expected.push_back(777);
  EXPECT_EQ(y, expected);
}

TEST(CudaCrossEntropy, EqualsItsDefinition) {
  for (const int classes : {1, 3, 8, 1000, 4104}) {
    const int rows = 3;
    auto x = halves(size_t(rows) * classes, 4, unsigned(classes));
    if (classes > 8) x[5] = from_float<BFloat16>(300), x[classes] = from_float<BFloat16>(-INFINITY);
    const std::vector<int> labels{0, classes - 1, classes / 2};
    const std::vector<float> dlosses{1, -0.5f, 2};
    std::vector<float> losses(rows), log_sums(rows);
    std::vector<BFloat16> dx(x.size(), from_float<BFloat16>(777));
    emulation::launch({unsigned(rows), 1, 1}, 256, 64,
                      [&] { cross_entropy(x.data(), labels.data(), losses.data(), log_sums.data(), classes); });
    emulation::launch({unsigned(rows), 1, 1}, 256, 0,
                      [&] { cross_entropy_gradient(x.data(), labels.data(), log_sums.data(), dlosses.data(), dx.data(), classes); });
    for (int r = 0; r < rows; ++r) {
      auto at = [&](int c) { return double(to_float(x[size_t(r) * classes + c])); };
      double most = -INFINITY, sum = 0;
      for (int c = 0; c < classes; ++c) most = std::max(most, at(c));
      for (int c = 0; c < classes; ++c) sum += std::exp(at(c) - most);
      const double log_sum = most + std::log(sum);
      EXPECT_NEAR(losses[r], log_sum - at(labels[r]), 1e-5 * (1 + std::abs(log_sum)));
      for (int c = 0; c < classes; ++c) {
        const double want = dlosses[r] * (std::exp(at(c) - log_sum) - (c == labels[r]));
        ASSERT_NEAR(to_float(dx[size_t(r) * classes + c]), want, 4e-3 * std::abs(want) + 1e-5) << classes << " " << r << " " << c;
      }
    }
  }
}

TEST(CudaCrossEntropy, NanAndWrongLabels) {
  auto x = halves(3 * 16, 1, 1);
  x[20] = from_float<BFloat16>(NAN);
  const std::vector<int> labels{16, 0, -1};
  std::vector<float> losses(3), log_sums(3);
  emulation::launch({3, 1, 1}, 256, 64, [&] { cross_entropy(x.data(), labels.data(), losses.data(), log_sums.data(), 16); });
  for (const float loss : losses) EXPECT_TRUE(std::isnan(loss));
}

TEST(CudaEmbeddingGradient, EqualsItsDefinition) {
  const int rows = 7, n = 50;
  std::vector<int> index(n), sorted;
  for (int i = 0; i < n; ++i) index[i] = i % 3 == 0 ? 2 : i * 5 % rows == 4 ? 3 : i * 5 % rows;  // row 4 has no place
  std::vector<uint32_t> order(n);
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return index[a] < index[b]; });
  for (const auto i : order) sorted.push_back(index[i]);
  for (const int width : {40, 37, 264, 300}) {  // with and without whole vectors; more than a block's columns
    const auto dy = halves(size_t(n) * width, 1, 1);
    std::vector<float> wide_dy;
    for (const auto v : dy) wide_dy.push_back(to_float(v));
    std::vector<BFloat16> dtable(size_t(rows) * width, from_float<BFloat16>(777));
    std::vector<float> wide(dtable.size(), 777);
    emulation::launch({unsigned(rows), unsigned(width + 255) / 256, 1}, 256, 8 * 256 * 4,
                      [&] { embedding_gradient_bfloat16(dy.data(), order.data(), sorted.data(), dtable.data(), n, width); });
    emulation::launch({unsigned(rows), unsigned(width + 127) / 128, 1}, 256, 8 * 128 * 4,
                      [&] { embedding_gradient_float32(wide_dy.data(), order.data(), sorted.data(), wide.data(), n, width); });
    for (int r = 0; r < rows; ++r) {
      for (int c = 0; c < width; ++c) {
        double want = 0;
        for (int i = 0; i < n; ++i) want += index[i] == r ? to_float(dy[size_t(i) * width + c]) : 0;
        ASSERT_NEAR(to_float(dtable[size_t(r) * width + c]), want, 4e-3 * std::abs(want) + 1e-6) << width << " " << r << " " << c;
        ASSERT_NEAR(wide[size_t(r) * width + c], want, 1e-5 * std::abs(want) + 1e-6) << width << " " << r << " " << c;
      }
    }
  }
}

TEST(CudaDropout, DropsWhatTheDefinitionDrops) {
  const int n = 2 * kDropoutLine + 13;
  const float p = 0.3f;
  const auto x = halves(n, 1, 1);
  const uint32_t key[2] = {12345, 678};
  std::vector<BFloat16> y(n, from_float<BFloat16>(777));
  const unsigned blocks = unsigned(n + 1023) / 1024;
  emulation::launch({blocks, 1, 1}, 128, 0, [&] { dropout_bfloat16(x.data(), key, y.data(), n, int(dropout_threshold(p)), 1 / (1 - p)); });
  int kept = 0;
  for (int i = 0; i < n; ++i) {
    const uint32_t line = uint32_t(i / kDropoutLine), place = uint32_t(i % kDropoutLine);
    const uint32_t hash = hash_mix(place * (hash_mix(key[1] + line) | 1) + hash_mix(key[0] + line));
    const bool keeps = hash >= dropout_threshold(p);
    kept += keeps;
    ASSERT_EQ(to_float(y[i]), keeps ? to_float(from_float<BFloat16>(to_float(x[i]) / (1 - p))) : 0) << i;
  }
  EXPECT_NEAR(double(kept) / n, 1 - p, 0.02);
}

// Three networks: their inputs are separate arrays, or one array.
TEST(CudaSineLinear, EqualsItsDefinition) {
  constexpr int N = 3;
  for (const auto& [rows, in, out, stacked] :
       {std::tuple{1, 1, 1, false}, {33, 5, 128, false}, {40, 128, 128, true}, {300, 40, 24, true}, {1030, 30, 33, true}}) {
    const size_t x_size = size_t(rows) * in, y_size = size_t(rows) * out;
    const auto x = floats(N * x_size, 1, 1), w = floats(size_t(N) * out * in, 0.3f, 2), b = floats(N * out, 1, 3),
               freq = floats(N * out, 3, 4);
    const auto dy = floats(N * y_size, 1, 5);
    std::vector<float> y(dy.size(), 777), dx(x.size(), 777), da(dy.size(), 777), dfreq_rows(dy.size(), 777), dw(w.size(), 777);
    std::vector<float> db(b.size(), 777), dfreq(b.size(), 777);
    const SineSizes sizes{rows};
    const unsigned blocks = unsigned(sizes.blocks()), threads = sizes.THREADS, shared = unsigned(sizes.shared_bytes());
    const auto forward = sizes.few() ? sine_linear_few : sine_linear;
    const auto backward = sizes.few() ? sine_linear_gradient_few : sine_linear_gradient;
    const int stride = stacked ? int(x_size) : 0;
    const float* xs[4];
    for (size_t i = 0; i < 4; ++i) xs[i] = x.data() + (stacked ? 0 : std::min<size_t>(i, N - 1) * x_size);
#define EACH(name, size) name.data(), name.data() + (size), name.data() + 2 * (size), name.data()
#define SINE_ARRAYS xs[0], xs[1], xs[2], xs[3], EACH(w, size_t(out) * in), EACH(b, out), EACH(freq, out)
    emulation::launch({blocks, N, 1}, threads, shared, [&] { forward(SINE_ARRAYS, y.data(), rows, in, out, stride); });
    emulation::launch({blocks, N, 1}, threads, shared,
                      [&] { backward(SINE_ARRAYS, dy.data(), dx.data(), da.data(), dfreq_rows.data(), rows, in, out, stride); });
    const RowProductSizes product{rows, out, in, N};
    const int parts = product.parts();
    std::vector<float> products(size_t(parts) * dw.size(), 777), of_da(size_t(parts) * db.size(), 777), of_rows(of_da.size(), 777);
    auto multiply = [&](float* products, float* left_sums, float* also_sums, bool adds) {
      emulation::launch({unsigned(product.right_tiles()), unsigned(product.left_tiles() * N * parts), 1}, product.THREADS,
                        product.SHARED_BYTES, [&, rows = rows, out = out, in = in] {
                          row_products(da.data(), xs[0], xs[1], xs[2], xs[3], dfreq_rows.data(), freq.data(), products, left_sums,
                                       also_sums, rows, out, in, N, stride, true, adds);
                        });
    };
    if (parts == 1) {
      multiply(dw.data(), db.data(), dfreq.data(), stacked);
    } else {
      multiply(products.data(), of_da.data(), of_rows.data(), false);
      emulation::launch({unsigned(dw.size() + 2 * db.size() + 255) / 256, 1, 1}, 256, 0, [&, out = out, in = in, adds = stacked] {
        row_product_sums(products.data(), of_da.data(), of_rows.data(), freq.data(), dw.data(), db.data(), dfreq.data(), parts, N, out, in,
                         true, adds);
      });
    }
    std::vector<double> want_x(x.size()), want_w(w.size()), want_b(b.size()), want_freq(b.size());
    for (size_t i = 0; stacked && i < freq.size(); ++i) want_freq[i] = freq[i];  // what the sums are added to
    for (int n = 0; n < N; ++n) {
      for (int r = 0; r < rows; ++r) {
        for (int o = 0; o < out; ++o) {
          const size_t column = size_t(n) * out + o, weights = column * in, row = (size_t(n) * rows + r) * in,
                       at = n * y_size + size_t(r) * out + o;
          double a = b[column];
          for (int i = 0; i < in; ++i) a += double(x[row + i]) * w[weights + i];
          ASSERT_NEAR(y[at], std::sin(freq[column] * a), 1e-4);
          const double c = dy[at] * std::cos(freq[column] * a);
          want_b[column] += c * freq[column], want_freq[column] += c * a;
          for (int i = 0; i < in; ++i) {
            want_x[row + i] += c * freq[column] * w[weights + i];
            want_w[weights + i] += c * freq[column] * x[row + i];
          }
        }
      }
    }
    auto near = [&](const std::vector<float>& found, const std::vector<double>& want, const char* name) {
      for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(found[i], want[i], 1e-3 * (1 + std::abs(want[i]))) << name << " " << i;
    };
    near(dx, want_x, "dx"), near(dw, want_w, "dweight"), near(db, want_b, "dbias"), near(dfreq, want_freq, "dfreq");
  }
}

// Several tiles each way, and parts of the rows, of which the last can be empty; without the sums of columns.
TEST(CudaRowProducts, EqualTheirDefinition) {
  constexpr int N = 2;
  for (const auto& [rows, out, in] : {std::tuple{1, 1, 1}, {17, 129, 65}, {530, 200, 70}, {1281, 1, 1}}) {
    const auto left = floats(size_t(N) * rows * out, 1, 1), right = floats(size_t(N) * rows * in, 1, 2);
    const RowProductSizes sizes{rows, out, in, N};
    std::vector<float> products(size_t(sizes.parts()) * N * out * in, 777), found(size_t(N) * out * in, 777);
    const float* r = right.data();
    emulation::launch({unsigned(sizes.right_tiles()), unsigned(sizes.left_tiles() * N * sizes.parts()), 1}, sizes.THREADS,
                      sizes.SHARED_BYTES, [&, rows = rows, out = out, in = in] {
                        row_products(left.data(), r, r, r, r, nullptr, nullptr, products.data(), nullptr, nullptr, rows, out, in, N,
                                     rows * in, false, false);
                      });
    emulation::launch({unsigned(found.size() + 255) / 256, 1, 1}, 256, 0, [&, out = out, in = in] {
      row_product_sums(products.data(), nullptr, nullptr, nullptr, found.data(), nullptr, nullptr, sizes.parts(), N, out, in, false, false);
    });
    for (size_t i = 0; i < found.size(); ++i) {
      const size_t n = i / (size_t(out) * in), o = i / in % out, c = i % in;
      double want = 0;
      for (int row = 0; row < rows; ++row) want += double(left[(n * rows + row) * out + o]) * right[(n * rows + row) * in + c];
      ASSERT_NEAR(found[i], want, 1e-4) << rows << " " << i;
    }
  }
  EXPECT_GT((RowProductSizes{530, 200, 70, N}.parts()), 1);
}

TEST(CudaStackArrays, PutsThemSideBySide) {
  const auto x = floats(4 * 300, 1, 1);
  std::vector<float> y(4 * 300, 777);
  emulation::launch({2, 4, 1}, 256, 0, [&] { stack_arrays(EACH(x, 300), y.data(), 300); });
  for (size_t i = 0; i < 3 * 300; ++i) EXPECT_EQ(y[i], x[i]);
  for (size_t i = 0; i < 300; ++i) EXPECT_EQ(y[3 * 300 + i], x[i]);
}

TEST(CudaExponentialDecay, EqualsItsDefinition) {
  for (const auto& [columns, offset] : {std::tuple{9, 0}, {12, 0}, {12, 1}}) {  // rows not divisible by four, and an unaligned array
    const int rows = 7, size = rows * columns;
    const auto x = floats(size_t(2 * size + offset), 1, 1), times = floats(2 * rows, 1, 2), deltas = floats(size_t(2 * columns), 1, 3);
    std::vector<float> y(size_t(2 * size), 777);
    const float* from = x.data() + offset;
    emulation::launch({1, 2, 1}, 64, 0, [&, columns = columns] {
      exponential_decay(from, from, from, from, times.data(), times.data() + rows, times.data(), times.data(), deltas.data(),
                        deltas.data() + columns, deltas.data(), deltas.data(), y.data(), rows, columns, size);
    });
    for (int i = 0; i < 2 * size; ++i) {
      const int n = i / size, row = n * rows + i % size / columns, column = n * columns + i % columns;
      EXPECT_NEAR(y[size_t(i)], from[i] * std::exp(-times[size_t(row)] * std::abs(deltas[size_t(column)])), 1e-4) << columns << " " << i;
    }
  }
}

}  // namespace
}  // namespace m2bert::ops::cuda
