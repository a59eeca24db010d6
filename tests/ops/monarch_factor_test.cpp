// Tolerances, relative to the largest value: golden tensors as in golden.h; 5e-6 for matrices that float32 singular values reproduce; 1e-6
// for the Fourier factors, whose entries are computed in double.
#include "m2bert/ops/monarch_factor.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <complex>
#include <limits>
#include <numbers>

#include "golden.h"
#include "m2bert/error.h"
#include "m2bert/ops/low_rank.h"
#include "m2bert/ops/monarch.h"
#include "plain.h"

namespace m2bert {
namespace {

using namespace testing_ops;
using ops::FourierDirection;
using Norm = mx::fft::FFTNorm;

mx::array random_complex(mx::Shape shape, int seed) {
  shape.push_back(2);
  return to_complex(random(shape, seed));
}

mx::array random_of(bool complex, const mx::Shape& shape, int seed) { return complex ? random_complex(shape, seed) : random(shape, seed); }

double residual(const mx::array& matrix, const mx::array& approximation) {
  return ops::projection_residual(matrix, approximation).item<float>();
}

mx::array dense(const ops::ButterflyPair& pair) { return ops::blockdiag_butterfly_to_dense(pair.w1, pair.w2); }

std::string message(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(Factors, AreAllPairsByRisingFirst) {
  using Pairs = std::vector<std::pair<int, int>>;
  EXPECT_EQ(ops::factors(1), (Pairs{{1, 1}}));
  EXPECT_EQ(ops::factors(7), (Pairs{{1, 7}}));
  EXPECT_EQ(ops::factors(24), (Pairs{{1, 24}, {2, 12}, {3, 8}, {4, 6}}));
  EXPECT_EQ(ops::factors(36), (Pairs{{1, 36}, {2, 18}, {3, 12}, {4, 9}, {6, 6}}));
  EXPECT_EQ(ops::factors(2147483647).size(), 1u);  // the largest int, a prime
  EXPECT_EQ(ops::butterfly_sizes(24), (ops::ButterflySizes{6, 4}));
  EXPECT_EQ(ops::butterfly_sizes(7), (ops::ButterflySizes{7, 1}));
  EXPECT_EQ(message([] { ops::factors(0); }), "[factors] n is 0, wants at least 1");
}

TEST(ButterflyProject, EqualsGoldenTensors) {
  for (bool complex : {false, true}) {
    Golden whole(complex ? "blockdiag_butterfly_project_complex" : "blockdiag_butterfly_project_real");
    Golden sized(complex ? "blockdiag_butterfly_project_sizes_complex" : "blockdiag_butterfly_project_sizes_real");
    auto read = [&](const Golden& golden, const char* key) { return complex ? golden.complex(key) : golden.real(key); };
    auto pair = ops::blockdiag_butterfly_project(read(whole, "in.M"));
    whole.expect_near(dense(pair), "out.M_hat");
    expect_near(mx::abs(pair.w1), mx::abs(read(whole, "out.w1")), 2e-5);  // unique up to a factor of modulus 1
    expect_near(mx::abs(pair.w2), mx::abs(read(whole, "out.w2")), 2e-5);
    pair = ops::blockdiag_butterfly_project(read(sized, "in.M"), ops::ButterflySizes{sized.attr("size0"), sized.attr("size1")});
    sized.expect_near(dense(pair), "out.M_hat");
    EXPECT_EQ(pair.w1.shape(), read(sized, "out.w1").shape());
    EXPECT_EQ(pair.w2.shape(), read(sized, "out.w2").shape());
  }
  Golden exact("blockdiag_butterfly_project_exact");
  auto back = dense(ops::blockdiag_butterfly_project(exact.real("in.M")));
  exact.expect_near(back, "out.M_hat");
  EXPECT_LE(residual(exact.real("in.M"), back), 2e-6);
}

TEST(ButterflyProject, EinsumFormsEqualGoldenTensors) {
  Golden simple("bfly_project_einsum_simple"), blocks("bfly_project_einsum"), rank("bfly_project_einsum_rank");
  auto pair = ops::blockdiag_butterfly_project_einsum_simple(simple.real("in.M"), simple.attr("nblocks1"), simple.attr("nblocks2"));
  simple.expect_near(dense(pair), "out.M_hat");
  EXPECT_EQ(pair.w1.shape(), simple.real("out.w1").shape());
  EXPECT_EQ(pair.w2.shape(), simple.real("out.w2").shape());
  pair = ops::blockdiag_butterfly_project_einsum(blocks.real("in.M"), blocks.attr("nblocks1"), blocks.attr("nblocks2"), blocks.attr("b1"),
                                                 blocks.attr("b2"));
  blocks.expect_near(ops::blockdiag_butterfly_einsum_to_dense(pair.w1, pair.w2, blocks.attr("b2")), "out.M_hat");
  EXPECT_EQ(pair.w1.shape(), blocks.real("out.w1").shape());
  EXPECT_EQ(pair.w2.shape(), blocks.real("out.w2").shape());
  pair = ops::blockdiag_butterfly_project_einsum_rank(rank.real("in.M"), rank.attr("nblocks1"), rank.attr("nblocks2"), rank.attr("rank"));
  rank.expect_near(dense(pair), "out.M_hat");
  EXPECT_EQ(pair.w1.shape(), rank.real("out.w1").shape());
  EXPECT_EQ(pair.w2.shape(), rank.real("out.w2").shape());
}

TEST(ButterflyProject, IsTheNearestOfItsStructure) {
  auto matrix = random({12, 12}, 1);
  auto pair = ops::blockdiag_butterfly_project(matrix);
  const double best = residual(matrix, dense(pair));
  for (int seed = 2; seed < 30; ++seed) {
    auto w1 = pair.w1 + mx::array(0.05f) * random(pair.w1.shape(), seed), w2 = pair.w2 + mx::array(0.05f) * random(pair.w2.shape(), -seed);
    EXPECT_GT(residual(matrix, ops::blockdiag_butterfly_to_dense(w1, w2)), best);
  }
}

TEST(ButterflyProject, FullRankGivesAnyMatrixBack) {
  auto matrix = random({12, 10}, 1);
  auto pair = ops::blockdiag_butterfly_project_einsum_rank(matrix, 2, 3, 4);
  EXPECT_LE(residual(matrix, dense(pair)), 5e-6);
  // A prime size: one factor is the whole matrix.
  auto prime = random({7, 7}, 2);
  pair = ops::blockdiag_butterfly_project(prime);
  EXPECT_EQ(pair.w2.shape(), (mx::Shape{1, 7, 7}));
  EXPECT_LE(residual(prime, dense(pair)), 5e-6);
  EXPECT_LE(residual(random({1, 1}, 3), dense(ops::blockdiag_butterfly_project(random({1, 1}, 3)))), 1e-6);
}

TEST(ButterflyProject, NarrowTypesKeepTheirDtype) {
  auto matrix = random({12, 12}, 1, mx::bfloat16);
  auto pair = ops::blockdiag_butterfly_project(matrix);
  EXPECT_EQ(pair.w1.dtype(), mx::bfloat16);
  EXPECT_EQ(pair.w2.dtype(), mx::bfloat16);
  expect_near(dense(pair), dense(ops::blockdiag_butterfly_project(mx::astype(matrix, mx::float32))), 3e-2);
}

RC_GTEST_PROP(ButterflyProjectProperty, GivesBackAMatrixOfTheStructure, (bool complex)) {
  auto size = [](const char* name) { return *rc::gen::inRange(1, 6).as(name); };
  const int r = size("r"), b = size("b");
  auto matrix = ops::blockdiag_butterfly_to_dense(random_of(complex, {r, b, b}, 1), random_of(complex, {b, r, r}, 2));
  auto pair = ops::blockdiag_butterfly_project(matrix, ops::ButterflySizes{r, b});
  RC_ASSERT(residual(matrix, dense(pair)) <= 5e-6);
}

RC_GTEST_PROP(ButterflyProjectProperty, EinsumFormsGiveBackAMatrixOfTheirStructure, (bool complex)) {
  auto size = [](const char* name) { return *rc::gen::inRange(1, 5).as(name); };
  const int k = size("k"), j = size("j"), i = size("i"), l = size("l"), b2 = size("b2");
  const int b1 = *rc::gen::inRange(1, std::min(i, l * b2) + 1).as("b1"), rank = *rc::gen::inRange(1, std::min(i, l) + 1).as("rank");
  auto w1 = random_of(complex, {k, j * b1, i}, 1), w2 = random_of(complex, {j, l * b2, k * b1}, 2);
  auto matrix = ops::blockdiag_butterfly_einsum_to_dense(w1, w2, b2);
  auto pair = ops::blockdiag_butterfly_project_einsum(matrix, k, j, b1, b2);
  RC_ASSERT(residual(matrix, ops::blockdiag_butterfly_einsum_to_dense(pair.w1, pair.w2, b2)) <= 5e-6);
  matrix = ops::blockdiag_butterfly_to_dense(random_of(complex, {k, j * rank, i}, 3), random_of(complex, {j, l, k * rank}, 4));
  RC_ASSERT(residual(matrix, dense(ops::blockdiag_butterfly_project_einsum_rank(matrix, k, j, rank))) <= 5e-6);
  matrix = ops::blockdiag_butterfly_to_dense(random_of(complex, {k, j, i}, 5), random_of(complex, {j, l, k}, 6));
  RC_ASSERT(residual(matrix, dense(ops::blockdiag_butterfly_project_einsum_simple(matrix, k, j))) <= 5e-6);
}

TEST(ButterflyProject, HasNoGradientAndSaysSo) {
  auto expect_none = [](const std::function<ops::ButterflyPair(const mx::array&)>& project) {
    auto loss = [&](const mx::array& m) {
      auto pair = project(m);
      return mx::sum(pair.w1) + mx::sum(pair.w2);
    };
    EXPECT_NE(message([&] { mx::eval(mx::grad(loss)(random({12, 12}, 1))); }).find("has no gradient"), std::string::npos);
  };
  expect_none([](const auto& m) { return ops::blockdiag_butterfly_project(m); });
  expect_none([](const auto& m) { return ops::blockdiag_butterfly_project_einsum_simple(m, 3, 4); });
  expect_none([](const auto& m) { return ops::blockdiag_butterfly_project_einsum(m, 3, 4, 2, 3); });
  expect_none([](const auto& m) { return ops::blockdiag_butterfly_project_einsum_rank(m, 3, 4, 2); });
}

TEST(ButterflyProject, NamesWrongSizes) {
  auto square = random({12, 12}, 1);
  EXPECT_EQ(message([&] { ops::blockdiag_butterfly_project(square, ops::ButterflySizes{5, 2}); }),
            "[blockdiag_butterfly_project] sizes 5 x 2 do not make 12");
  EXPECT_EQ(message([&] { ops::blockdiag_butterfly_project(square, ops::ButterflySizes{-3, -4}); }),
            "[blockdiag_butterfly_project] sizes -3 x -4 do not make 12");
  EXPECT_EQ(message([&] { ops::blockdiag_butterfly_project(random({12, 6}, 1)); }),
            "[blockdiag_butterfly_project] M has shape (12,6), wants a square matrix");
  EXPECT_EQ(message([&] { ops::blockdiag_butterfly_project(mx::zeros({0, 0})); }), "[blockdiag_butterfly_project] M is empty");
  EXPECT_EQ(message([&] { ops::blockdiag_butterfly_project_einsum(square, 3, 4, 2, 2); }),
            "[blockdiag_butterfly_project_einsum] M has 12 rows, not a multiple of nblocks2 x b2 = 4 x 2");
  EXPECT_EQ(message([&] { ops::blockdiag_butterfly_project_einsum_simple(square, 5, 4); }),
            "[blockdiag_butterfly_project_einsum_simple] M has 12 columns, not a multiple of nblocks1 = 5");
  EXPECT_EQ(message([&] { ops::blockdiag_butterfly_project_einsum_rank(square, 3, 4, 4); }),
            "[blockdiag_butterfly_project_einsum_rank] rank is 4; sub-matrices of 3 x 4 have a rank of 1 to 3");
  EXPECT_EQ(message([&] { ops::blockdiag_butterfly_project_einsum_rank(square, 3, 4, 0); }),
            "[blockdiag_butterfly_project_einsum_rank] rank is 0; sub-matrices of 3 x 4 have a rank of 1 to 3");
  EXPECT_EQ(message([&] { ops::blockdiag_butterfly_project_einsum_rank(square, 0, 4, 1); }),
            "[blockdiag_butterfly_project_einsum_rank] nblocks1 is 0, nblocks2 4 and b2 1; each must be at least 1");
  EXPECT_THROW(ops::blockdiag_butterfly_project_einsum_simple(mx::zeros({12, 0}), 3, 4), Error);
  EXPECT_THROW(ops::blockdiag_butterfly_project(mx::zeros({4, 4}, mx::int32)), Error);
  EXPECT_THROW(ops::blockdiag_butterfly_project(mx::full({4, 4}, std::numeric_limits<float>::infinity())), Error);
}

// The transform's matrix from its definition, in double: [n, n].
mx::array fourier_matrix(int n, FourierDirection direction, Norm norm) {
  const bool forward = direction == FourierDirection::fft;
  double scale = norm == Norm::Ortho ? 1 / std::sqrt(double(n)) : 1;
  if (norm == (forward ? Norm::Forward : Norm::Backward)) scale = 1.0 / n;
  std::vector<mx::complex64_t> entries;
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t column = 0; column < n; ++column) {
      const auto root = std::polar(scale, (forward ? -2 : 2) * std::numbers::pi * double(row * column % n) / n);
      entries.emplace_back(float(root.real()), float(root.imag()));
    }
  }
  return mx::array(entries.begin(), {n, n}, mx::complex64);
}

mx::array columns_in_order(const mx::array& matrix, const mx::array& permutation) { return mx::take(matrix, permutation, 1); }

TEST(ButterflyFft, EqualsGoldenTensors) {
  for (auto [direction, word] : {std::pair{FourierDirection::fft, "fft"}, {FourierDirection::ifft, "ifft"}}) {
    for (int n : {16, 24, 36}) {
      const auto file = std::string("butterfly_") + word + "_" + std::to_string(n);
      SCOPED_TRACE(file);
      auto with_weights = [](const std::vector<mx::array>& in) { return ops::butterfly_fft(in[0], in[1], in[2]); };
      expect_golden(file, {"x", "w1", "w2"}, with_weights, "y", complex_layout());
      Golden golden(file);
      auto ours = ops::butterfly_fft(golden.complex("in.x"), direction);
      golden.expect_near(ours, "out.y");
      golden.expect_near(ours, "out.true");
      auto factors = ops::butterfly_fft_factors(n, direction);
      EXPECT_EQ(factors.permutation.dtype(), mx::int32);
      EXPECT_TRUE(mx::array_equal(factors.permutation, mx::astype(golden.real("attr.perm"), mx::int32)).item<bool>());
      expect_near(mx::abs(factors.w1), mx::abs(golden.complex("in.w1")), 2e-6);  // the same magnitude as upstream's, block by block
      expect_near(mx::abs(factors.w2), mx::abs(golden.complex("in.w2")), 2e-6);
    }
  }
}

TEST(ButterflyFft, TwoDimensionsEqualGoldenTensors) {
  Golden golden("butterfly_fft2");
  auto ours = ops::butterfly_fft2(golden.complex("in.x"));
  golden.expect_near(ours, "out.y");
  golden.expect_near(ours, "out.true");
}

TEST(ButterflyFft, FactorsMakeTheTransformsMatrix) {
  for (auto direction : {FourierDirection::fft, FourierDirection::ifft}) {
    for (auto norm : {Norm::Backward, Norm::Ortho, Norm::Forward}) {
      for (int n : {1, 2, 7, 12, 30, 64}) {
        auto f = ops::butterfly_fft_factors(n, direction, norm);
        auto expected = columns_in_order(fourier_matrix(n, direction, norm), f.permutation);
        expect_near(to_pairs(ops::blockdiag_butterfly_to_dense(f.w1, f.w2)), to_pairs(expected), 1e-6);
      }
    }
  }
}

TEST(ButterflyFft, FactorsAreTheProjectionOfTheTransform) {
  for (auto sizes : {ops::ButterflySizes{6, 4}, {4, 6}, {12, 2}, {1, 24}}) {
    auto f = ops::butterfly_fft_factors(24, FourierDirection::fft, Norm::Ortho, sizes);
    auto matrix = columns_in_order(fourier_matrix(24, FourierDirection::fft, Norm::Ortho), f.permutation);
    auto projected = ops::blockdiag_butterfly_project(matrix, sizes);
    EXPECT_LE(residual(matrix, dense(projected)), 2e-6);
    expect_near(mx::abs(projected.w1), mx::abs(f.w1), 5e-6);
    expect_near(mx::abs(projected.w2), mx::abs(f.w2), 5e-6);
  }
}

TEST(ButterflyFft, EqualsMlxAndItsInverseGivesBack) {
  for (int n : {1, 5, 20, 256}) {
    auto x = random_complex({3, n}, n);
    for (auto norm : {Norm::Backward, Norm::Ortho, Norm::Forward}) {
      auto there = ops::butterfly_fft(x, FourierDirection::fft, norm);
      expect_near(to_pairs(there), to_pairs(mx::fft::fft(x, -1, norm)), 2e-6);
      expect_near(to_pairs(ops::butterfly_fft(there, FourierDirection::ifft, norm)), to_pairs(x), 2e-6);
    }
  }
  auto image = random_complex({2, 6, 10}, 1);
  expect_near(to_pairs(ops::butterfly_fft2(image)), to_pairs(mx::fft::fftn(image, {1, 2}, Norm::Ortho)), 2e-6);
  expect_near(to_pairs(ops::butterfly_fft2(image, FourierDirection::ifft, Norm::Backward)),
              to_pairs(mx::fft::ifftn(image, {1, 2}, Norm::Backward)), 2e-6);
}

TEST(ButterflyFft, UsesGivenSizes) {
  auto x = random_complex({3, 24}, 1);
  auto expected = ops::butterfly_fft(x);
  for (auto sizes : {ops::ButterflySizes{4, 6}, {3, 8}, {24, 1}, {1, 24}}) {
    expect_near(to_pairs(ops::butterfly_fft(x, FourierDirection::fft, Norm::Ortho, sizes)), to_pairs(expected), 1e-6);
  }
}

TEST(ButterflyFft, SupportsRealInputWithARealGradient) {
  auto x = random({2, 12}, 1), cotangent = random({2, 12, 2}, 2);
  auto ours = [](const std::vector<mx::array>& in) { return to_pairs(ops::butterfly_fft(in[0])); };
  auto mlx = [](const std::vector<mx::array>& in) { return to_pairs(mx::fft::fft(mx::astype(in[0], mx::complex64), -1, Norm::Ortho)); };
  expect_near(ours({x}), mlx({x}), 1e-6);
  auto grad = gradients(ours, {x}, cotangent)[0];
  EXPECT_EQ(grad.dtype(), mx::float32);
  expect_near(grad, gradients(mlx, {x}, cotangent)[0], 2e-6);
  EXPECT_EQ(ops::butterfly_fft(mx::astype(x, mx::bfloat16)).dtype(), mx::complex64);
}

TEST(ButterflyFft, EqualsTheDefinitionWithGradients) {
  auto plain = [](const std::vector<Plain>& in) {
    const int n = in[0].dim(1);
    Plain y(in[0].shape);
    for (int row = 0; row < in[0].dim(0); ++row)
      for (int k = 0; k < n; ++k)
        for (int t = 0; t < n; ++t) {
          const auto term = std::complex<double>(in[0](row, t, 0), in[0](row, t, 1)) *
                            std::polar(1 / std::sqrt(double(n)), -2 * std::numbers::pi * (k * t % n) / n);
          y(row, k, 0) += term.real();
          y(row, k, 1) += term.imag();
        }
    return y;
  };
  auto op = [](const std::vector<mx::array>& in) { return to_pairs(ops::butterfly_fft(to_complex(in[0]))); };
  expect_as_plain(op, plain, {random({2, 12, 2}, 1)});
}

TEST(ButterflyFft, SupportsNoRows) {
  EXPECT_EQ(ops::butterfly_fft(mx::zeros({0, 12})).shape(), (mx::Shape{0, 12}));
  EXPECT_EQ(ops::butterfly_fft2(mx::zeros({0, 4, 6})).shape(), (mx::Shape{0, 4, 6}));
}

TEST(ButterflyFft, NamesWrongSizes) {
  EXPECT_EQ(message([] { ops::butterfly_fft_factors(0); }), "[butterfly_fft_factors] n is 0, wants at least 1");
  EXPECT_EQ(message([] { ops::butterfly_fft(random({2, 24}, 1), FourierDirection::fft, Norm::Ortho, ops::ButterflySizes{5, 5}); }),
            "[butterfly_fft_factors] sizes 5 x 5 do not make 24");
  auto f = ops::butterfly_fft_factors(24);
  EXPECT_EQ(message([&] { ops::butterfly_fft(random({2, 20}, 1), f.w1, f.w2); }),
            "[butterfly_fft] x has shape (2,20), w1 wants 6 x 4 columns");
  EXPECT_THROW(ops::butterfly_fft(mx::zeros({2, 24}, mx::int32), f.w1, f.w2), Error);
  EXPECT_THROW(ops::butterfly_fft(random({2, 24}, 1), random({6, 4}, 1), f.w2), Error);
  EXPECT_THROW(ops::butterfly_fft(mx::array(1.0f)), Error);
  EXPECT_THROW(ops::butterfly_fft2(random({4}, 1)), Error);
}

TEST(ButterflyFactor, EqualsGoldenTensors) {
  for (auto file : {"butterfly_factor_b2_n8_f0", "butterfly_factor_b2_n8_f1", "butterfly_factor_b2_n8_f2", "butterfly_factor_b3_n9_f0",
                    "butterfly_factor_b3_n9_f1"}) {
    Golden golden(file);
    auto matrix = ops::butterfly_factor_to_matrix(golden.real("in.twiddle"), golden.attr("factor_index"));
    EXPECT_TRUE(mx::array_equal(matrix, golden.real("out.matrix")).item<bool>()) << file;
  }
}

TEST(ButterflyFactor, EqualsTheDefinition) {
  for (auto [b, n, index] : {std::tuple{2, 8, 0}, {2, 8, 1}, {2, 8, 2}, {3, 9, 1}, {4, 4, 0}}) {
    int stride = 1;
    for (int level = 0; level < index; ++level) stride *= b;
    auto plain = [=, b = b, n = n](const std::vector<Plain>& in) {
      Plain matrix(mx::Shape{n, n});
      for (int at = 0; at < n / b; ++at)
        for (int i = 0; i < b; ++i)
          for (int j = 0; j < b; ++j) {
            const int start = at / stride * b * stride + at % stride;
            matrix(start + i * stride, start + j * stride) = in[0](at, i, j);
          }
      return matrix;
    };
    auto op = [index = index](const std::vector<mx::array>& in) { return ops::butterfly_factor_to_matrix(in[0], index); };
    expect_as_plain(op, plain, {random({n / b, b, b}, 1)});
  }
}

// Radix 2: the transform of n = 2^m points is the product of m butterfly factors after the bit reversal of its input.
TEST(ButterflyFactor, ProductIsTheFourierTransform) {
  const int n = 16, levels = 4;
  std::vector<int> reversed;
  for (int i = 0; i < n; ++i) {
    int bits = 0;
    for (int level = 0; level < levels; ++level) bits |= ((i >> level) & 1) << (levels - 1 - level);
    reversed.push_back(bits);
  }
  auto product = mx::take(mx::astype(mx::eye(n), mx::complex64), mx::array(reversed.begin(), {n}), 0);
  for (int level = 0; level < levels; ++level) {
    const int stride = 1 << level;
    std::vector<mx::complex64_t> twiddle;
    for (int at = 0; at < n / 2; ++at) {
      const auto root = std::polar(1.0f, float(-std::numbers::pi * (at % stride) / stride));
      for (auto entry : {std::complex<float>(1), root, std::complex<float>(1), -root}) twiddle.emplace_back(entry.real(), entry.imag());
    }
    auto factor = ops::butterfly_factor_to_matrix(mx::array(twiddle.begin(), {n / 2, 2, 2}, mx::complex64), level);
    product = mx::matmul(factor, product);
  }
  expect_near(to_pairs(product), to_pairs(fourier_matrix(n, FourierDirection::fft, Norm::Backward)), 1e-6);
}

TEST(ButterflyFactor, NamesWrongSizes) {
  EXPECT_EQ(message([] { ops::butterfly_factor_to_matrix(random({3, 2, 2}, 1), 0); }),
            "[butterfly_factor_to_matrix] twiddle has shape (3,2,2): n = 6 is no power of b = 2");
  EXPECT_EQ(message([] { ops::butterfly_factor_to_matrix(random({4, 2, 2}, 1), 3); }),
            "[butterfly_factor_to_matrix] factor_index is 3; there are 3 factors, from 0");
  EXPECT_THROW(ops::butterfly_factor_to_matrix(random({4, 2, 2}, 1), -1), Error);
  EXPECT_THROW(ops::butterfly_factor_to_matrix(random({4, 2, 3}, 1), 0), Error);
  EXPECT_THROW(ops::butterfly_factor_to_matrix(random({4, 1, 1}, 1), 0), Error);
  EXPECT_THROW(ops::butterfly_factor_to_matrix(mx::zeros({0, 2, 2}), 0), Error);
}

}  // namespace
}  // namespace m2bert
