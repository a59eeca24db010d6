// The CUDA kernels of the loss, the embeddings and the optimizer, run on the CPU (emulation.h), against their definitions.
#include "tests/ops/backend/cuda/emulation.h"
//
#include "m2bert/ops/backend/cuda/adamw.cu"
#include "m2bert/ops/backend/cuda/cross_entropy.cu"
#include "m2bert/ops/backend/cuda/embedding_gradient.cu"

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

TEST(CudaAdamW, EqualsItsDefinition) {
  const int n = 300;
  const auto value = floats(n, 1, 1), gradient = floats(n, 3, 2), m = floats(n, 1, 3);
  auto v = floats(n, 1, 4);
  for (auto& x : v) x = x * x;
  std::vector<float> new_value(n), new_m(n), new_v(n);
  const double scale = 0.5, limit = 1.2, beta1 = 0.9, beta2 = 0.98, eps = 1e-6, keep = 0.99, rate = 0.1, root = 1.7;
  emulation::launch({2, 1, 1}, 256, 0, [&] {
    adamw(value.data(), gradient.data(), m.data(), v.data(), new_value.data(), new_m.data(), new_v.data(), n, scale, limit, beta1, beta2,
          eps, keep, rate, root);
  });
  for (int i = 0; i < n; ++i) {
    const double g = std::clamp(scale * gradient[i], -limit, limit), a = beta1 * m[i] + (1 - beta1) * g;
    const double b = beta2 * v[i] + (1 - beta2) * g * g;
    EXPECT_NEAR(new_m[i], a, 1e-6);
    EXPECT_NEAR(new_v[i], b, 1e-6 * (1 + b));
    EXPECT_NEAR(new_value[i], keep * value[i] - rate * a / (std::sqrt(b) * root + eps), 1e-5);
  }
}

TEST(CudaSumOfSquares, EqualsItsDefinition) {
  for (const int n : {1, 31, 1000}) {
    const auto x = floats(n, 1, unsigned(n));
    std::vector<float> sums(3, -1);
    emulation::launch({3, 1, 1}, 256, 32, [&] { sum_of_squares(x.data(), sums.data(), n); });
    const double want = std::inner_product(x.begin(), x.end(), x.begin(), 0.0);
    EXPECT_NEAR(sums[0] + sums[1] + sums[2], want, 1e-5 * want) << n;
  }
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
  const int rows = 7, width = 40, n = 50;
  const auto dy = halves(size_t(n) * width, 1, 1);
  std::vector<int> index(n), sorted;
  for (int i = 0; i < n; ++i) index[i] = i % 3 == 0 ? 2 : i * 5 % rows == 4 ? 3 : i * 5 % rows;  // row 4 has no place
  std::vector<uint32_t> order(n);
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return index[a] < index[b]; });
  for (const auto i : order) sorted.push_back(index[i]);
  std::vector<BFloat16> dtable(size_t(rows) * width, from_float<BFloat16>(777));
  emulation::launch({unsigned(rows), 1, 1}, 256, 1024,
                    [&] { embedding_gradient(dy.data(), order.data(), sorted.data(), dtable.data(), n, width); });
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < width; ++c) {
      double want = 0;
      for (int i = 0; i < n; ++i) want += index[i] == r ? to_float(dy[size_t(i) * width + c]) : 0;
      ASSERT_NEAR(to_float(dtable[size_t(r) * width + c]), want, 4e-3 * std::abs(want) + 1e-6) << r << " " << c;
    }
  }
}

}  // namespace
}  // namespace m2bert::ops::cuda
