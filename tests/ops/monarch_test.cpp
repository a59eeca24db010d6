// Tolerances, relative to each tensor's largest value: golden tensors as golden.h says; 1e-5 to definitions in double with finite
// differences; 1e-5 (values) and 2e-5 (gradients) between the oneDNN kernel and the fallback; bfloat16 2e-2, float16 4e-3 (gradients 4e-2,
// 5e-3).
#include "m2bert/ops/monarch.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <complex>
#include <limits>

#include "golden.h"
#include "m2bert/error.h"
#include "plain.h"

namespace m2bert {
namespace {

using namespace testing_ops;

struct BlockShapes {
  mx::Shape rows;
  int nb, q, p;
};

std::ostream& operator<<(std::ostream& out, const BlockShapes& s) {
  return out << s.rows << " x [" << s.nb << ", " << s.q << ", " << s.p << "]";
}

class BlockdiagMultiply : public ::testing::TestWithParam<BlockShapes> {
 protected:
  std::vector<mx::array> inputs(mx::Dtype dtype) const {
    const auto& s = GetParam();
    auto shape = s.rows;
    shape.push_back(s.nb * s.p);
    return {random(shape, 1, dtype), random({s.nb, s.q, s.p}, 2, dtype), random({s.nb * s.q}, 3, dtype)};
  }
  static mx::array fast(const std::vector<mx::array>& in) { return ops::blockdiag_multiply(in[0], in[1], in[2]); }
  static mx::array fallback(const std::vector<mx::array>& in) { return ops::blockdiag_multiply_fallback(in[0], in[1], in[2]); }
};

TEST_P(BlockdiagMultiply, KernelEqualsFallback) {
  auto in = inputs(mx::float32);
  expect_near(fast(in), fallback(in), 1e-5);
}

TEST_P(BlockdiagMultiply, GradientsEqualFallback) {
  auto in = inputs(mx::float32);
  auto cotangent = random(fast(in).shape(), 4);
  auto ours = gradients(fast, in, cotangent), expected = gradients(fallback, in, cotangent);
  for (size_t i = 0; i < in.size(); ++i) expect_near(ours[i], expected[i], 2e-5);
}

TEST_P(BlockdiagMultiply, BfloatStaysNearFloat) {
  auto in = inputs(mx::bfloat16);
  std::vector<mx::array> wide;
  for (const auto& a : in) wide.push_back(mx::astype(a, mx::float32));
  EXPECT_EQ(fast(in).dtype(), mx::bfloat16);
  expect_near(fast(in), fallback(wide), 2e-2);
  auto cotangent = random(fast(in).shape(), 4);
  auto ours = gradients(fast, in, cotangent), full = gradients(fallback, wide, cotangent);
  for (size_t i = 0; i < in.size(); ++i) expect_near(ours[i], full[i], 4e-2);
}

INSTANTIATE_TEST_SUITE_P(Shapes, BlockdiagMultiply,
                         ::testing::Values(BlockShapes{{5}, 4, 6, 3}, BlockShapes{{2, 7}, 4, 16, 8}, BlockShapes{{1}, 1, 1, 1},
                                           BlockShapes{{3, 1, 4}, 3, 5, 7}, BlockShapes{{33}, 1, 40, 24}, BlockShapes{{64}, 4, 48, 192},
                                           BlockShapes{{2, 65}, 4, 48, 20}));

TEST(BlockdiagMultiply, EqualsTheDenseMatrix) {
  auto x = random({3, 8}, 1), w = random({2, 5, 4}, 2);
  auto left = mx::matmul(mx::slice(x, {0, 0}, {3, 4}), mx::transpose(mx::reshape(mx::slice(w, {0, 0, 0}, {1, 5, 4}), {5, 4})));
  auto right = mx::matmul(mx::slice(x, {0, 4}, {3, 8}), mx::transpose(mx::reshape(mx::slice(w, {1, 0, 0}, {2, 5, 4}), {5, 4})));
  expect_near(ops::blockdiag_multiply(x, w), mx::concatenate({left, right}, 1), 1e-5);
}

TEST(BlockdiagMultiply, SupportsStridedInputsAndNoRows) {
  auto x = mx::transpose(random({8, 6}, 1)), w = random({2, 5, 4}, 2);
  expect_near(ops::blockdiag_multiply(x, w), ops::blockdiag_multiply_fallback(x, w), 1e-5);
  EXPECT_EQ(ops::blockdiag_multiply(mx::zeros({0, 8}), w).shape(), (mx::Shape{0, 10}));
}

TEST(BlockdiagMultiply, NamesWrongShapes) {
  EXPECT_THROW(ops::blockdiag_multiply(random({3, 9}, 1), random({2, 5, 4}, 2)), Error);
  EXPECT_THROW(ops::blockdiag_multiply(random({3, 8}, 1), random({5, 4}, 2)), Error);
  EXPECT_THROW(ops::blockdiag_multiply(random({3, 8}, 1), random({2, 5, 4}, 2), random({9}, 3)), Error);
}

TEST(BlockdiagMultiply, EmptySizesGiveZerosOfTheRightShape) {
  auto no_columns = ops::blockdiag_multiply(mx::zeros({3, 0}), mx::zeros({2, 5, 0}), random({10}, 1));
  expect_near(no_columns, mx::broadcast_to(random({10}, 1), {3, 10}), 0);  // an empty sum, plus the bias
  EXPECT_EQ(ops::blockdiag_multiply(random({3, 8}, 1), mx::zeros({2, 0, 4})).shape(), (mx::Shape{3, 0}));
  EXPECT_EQ(ops::blockdiag_multiply(mx::zeros({0, 8}, mx::complex64), random({2, 5, 4}, 2)).dtype(), mx::complex64);
}

TEST(BlockdiagMultiply, GradientsOfNoRowsAreZero) {
  auto f = [](const std::vector<mx::array>& in) { return ops::blockdiag_multiply(in[0], in[1]); };
  auto grads = gradients(f, {mx::zeros({0, 8}), random({2, 5, 4}, 2)}, mx::zeros({0, 10}));
  EXPECT_EQ(grads[0].shape(), (mx::Shape{0, 8}));
  expect_near(grads[1], mx::zeros({2, 5, 4}), 0);
}

TEST(BlockdiagMultiply, RejectsIntegers) {
  EXPECT_THROW(ops::blockdiag_multiply(mx::zeros({3, 8}, mx::int32), random({2, 5, 4}, 2)), Error);
  EXPECT_THROW(ops::blockdiag_multiply(random({3, 8}, 1), mx::zeros({2, 5, 4}, mx::int32)), Error);
}

// A complex array as real pairs, for finite differences.
mx::array random_pairs(mx::Shape shape, int seed) {
  shape.push_back(2);
  return random(shape, seed);
}

// Reads a Plain of rank 2 or 3 as complex numbers, whether it holds reals or pairs.
struct Numbers {
  const Plain& plain;
  bool pairs;
  std::complex<double> operator()(int i, int j) const {
    return pairs ? std::complex<double>(plain(i, j, 0), plain(i, j, 1)) : std::complex<double>(plain(i, j));
  }
  std::complex<double> operator()(int i, int j, int k) const {
    return pairs ? std::complex<double>(plain(i, j, k, 0), plain(i, j, k, 1)) : std::complex<double>(plain(i, j, k));
  }
};

struct Sums {
  Plain plain;
  bool pairs;
  Sums(int rows, int columns, bool complex) : plain(complex ? mx::Shape{rows, columns, 2} : mx::Shape{rows, columns}), pairs(complex) {}
  void add(int row, int column, std::complex<double> value) {
    if (!pairs) {
      plain(row, column) += value.real();
      return;
    }
    plain(row, column, 0) += value.real();
    plain(row, column, 1) += value.imag();
  }
};

// (x, weight): the definition, term by term.
PlainOp plain_blockdiag(bool pairs) {
  return [pairs](const std::vector<Plain>& in) {
    const Numbers x{in[0], pairs}, w{in[1], pairs};
    const int rows = in[0].dim(0), nb = in[1].dim(0), q = in[1].dim(1), p = in[1].dim(2);
    Sums y(rows, nb * q, pairs);
    for (int row = 0; row < rows; ++row)
      for (int k = 0; k < nb; ++k)
        for (int i = 0; i < q; ++i)
          for (int j = 0; j < p; ++j) y.add(row, k * q + i, w(k, i, j) * x(row, k * p + j));
    return y.plain;
  };
}

// (x, w1, w2) of the multiply: column c of the first matmul is (j, b) of the second.
PlainOp plain_butterfly(bool pairs) {
  return [pairs](const std::vector<Plain>& in) {
    const Numbers x{in[0], pairs}, w1{in[1], pairs}, w2{in[2], pairs};
    const int rows = in[0].dim(0), q = in[1].dim(1), p = in[1].dim(2), l = in[2].dim(0), s = in[2].dim(1), r = in[2].dim(2);
    Sums y(rows, s * l, pairs);
    for (int row = 0; row < rows; ++row)
      for (int c = 0; c < l * r; ++c) {
        std::complex<double> z = 0;
        for (int j = 0; j < p; ++j) z += w1(c / q, c % q, j) * x(row, (c / q) * p + j);
        for (int i = 0; i < s; ++i) y.add(row, i * l + c % l, w2(c % l, i, c / l) * z);
      }
    return y.plain;
  };
}

// (x, w1, w2) of the einsum forms: w1 [k, rows of (j, b1) at place(j, b1), i], w2 [j, (l b2), (k b1)] -> [(l j b2)].
PlainOp plain_einsum(int b2, bool rank_first) {
  return [=](const std::vector<Plain>& in) {
    const Plain &x = in[0], &w1 = in[1], &w2 = in[2];
    const int nk = w1.dim(0), nj = w2.dim(0), nb1 = w1.dim(1) / nj, ni = w1.dim(2), nl = w2.dim(1) / b2;
    Plain y(mx::Shape{x.dim(0), nl * nj * b2});
    for (int row = 0; row < x.dim(0); ++row)
      for (int k = 0; k < nk; ++k)
        for (int j = 0; j < nj; ++j)
          for (int b = 0; b < nb1; ++b)
            for (int i = 0; i < ni; ++i)
              for (int l = 0; l < nl; ++l)
                for (int z = 0; z < b2; ++z)
                  y(row, (l * nj + j) * b2 + z) +=
                      x(row, k * ni + i) * w1(k, rank_first ? b * nj + j : j * nb1 + b, i) * w2(j, l * b2 + z, k * nb1 + b);
    return y;
  };
}

mx::array multiply(const std::vector<mx::array>& in) { return ops::blockdiag_butterfly_multiply(in[0], in[1], in[2]); }
mx::array multiply_fallback(const std::vector<mx::array>& in) { return ops::blockdiag_butterfly_multiply_fallback(in[0], in[1], in[2]); }
mx::array simple(const std::vector<mx::array>& in) { return ops::blockdiag_butterfly_multiply_einsum_simple(in[0], in[1], in[2]); }
mx::array of_rank(const std::vector<mx::array>& in) { return ops::blockdiag_butterfly_multiply_einsum_rank(in[0], in[1], in[2]); }
Op einsum(int b2) {
  return [b2](const std::vector<mx::array>& in) { return ops::blockdiag_butterfly_multiply_einsum(in[0], in[1], in[2], b2); };
}

// An op on complex arrays as one on pairs.
template <class F>
Op by_pairs(const F& f) {
  return [f](const std::vector<mx::array>& in) {
    std::vector<mx::array> complex;
    for (const auto& a : in) complex.push_back(to_complex(a));
    return to_pairs(f(complex));
  };
}

TEST(BlockdiagMultiply, EqualsGoldenTensors) {
  auto fast = [](const std::vector<mx::array>& in) { return ops::blockdiag_multiply(in[0], in[1]); };
  auto fallback = [](const std::vector<mx::array>& in) { return ops::blockdiag_multiply_fallback(in[0], in[1]); };
  expect_golden("blockdiag_multiply_real", {"x", "weight"}, fast);
  expect_golden("blockdiag_multiply_real", {"x", "weight"}, fallback);
  expect_golden("blockdiag_multiply_complex", {"x", "weight"}, fast, "y", complex_layout());
  Golden real("blockdiag_multiply_real"), complex("blockdiag_multiply_complex");
  real.expect_near(fast({real.real("in.x"), real.real("in.weight")}), "out.y_ref");
  complex.expect_near(fast({complex.complex("in.x"), complex.complex("in.weight")}), "out.y_ref");
}

TEST(BlockdiagMultiply, EqualsTheDefinition) {
  auto f = [](const std::vector<mx::array>& in) { return ops::blockdiag_multiply(in[0], in[1]); };
  expect_as_plain(f, plain_blockdiag(false), {random({3, 6}, 1), random({2, 4, 3}, 2)});
  expect_as_plain(by_pairs(f), plain_blockdiag(true), {random_pairs({3, 6}, 1), random_pairs({2, 4, 3}, 2)});
}

TEST(BlockdiagMultiply, SupportsARealAndAComplexFactor) {
  auto x = random({3, 6}, 1), w = random_pairs({2, 4, 3}, 2), zero = mx::zeros({3, 6, 1});
  auto f = [](const std::vector<mx::array>& in) { return ops::blockdiag_multiply(in[0], in[1]); };
  auto mixed = [&](const std::vector<mx::array>& in) { return to_pairs(f({in[0], to_complex(in[1])})); };
  auto both = [&](const std::vector<mx::array>& in) { return by_pairs(f)({mx::concatenate({mx::expand_dims(in[0], 2), zero}, 2), in[1]}); };
  expect_near(mixed({x, w}), both({x, w}), 1e-6);
  auto cotangent = random({3, 8, 2}, 3);
  auto ours = gradients(mixed, {x, w}, cotangent), expected = gradients(both, {x, w}, cotangent);
  for (size_t i = 0; i < 2; ++i) expect_near(ours[i], expected[i], 1e-6);
}

TEST(BlockdiagWeight, IsTheDenseMatrixAndBack) {
  for (auto dtype : {mx::float32, mx::bfloat16, mx::complex64}) {
    auto weight = mx::astype(random({3, 2, 4}, 1), dtype);
    auto dense = ops::blockdiag_weight_to_dense_weight(weight);
    EXPECT_EQ(dense.shape(), (mx::Shape{6, 12}));
    EXPECT_EQ(dense.dtype(), dtype);
    EXPECT_TRUE(mx::array_equal(ops::dense_weight_to_blockdiag_weight(dense, 3), weight).item<bool>());
    EXPECT_EQ(mx::sum(mx::not_equal(dense, mx::array(0, dtype))).item<int>(), 24);
  }
  auto x = random({5, 12}, 2), weight = random({3, 2, 4}, 1);
  expect_near(mx::matmul(x, mx::transpose(ops::blockdiag_weight_to_dense_weight(weight))), ops::blockdiag_multiply(x, weight), 1e-6);
  // Neither an infinity in one block nor its gradient affects the zeros.
  auto infinite = ops::blockdiag_weight_to_dense_weight(mx::full({2, 1, 1}, std::numeric_limits<float>::infinity()));
  EXPECT_EQ(mx::sum(mx::isnan(infinite)).item<int>(), 0);
}

TEST(BlockdiagWeight, GradientsAreTheBlocks) {
  auto cotangent = random({6, 12}, 3);
  auto to_dense = [](const std::vector<mx::array>& in) { return ops::blockdiag_weight_to_dense_weight(in[0]); };
  auto grad = gradients(to_dense, {random({3, 2, 4}, 1)}, cotangent)[0];
  expect_near(grad, ops::dense_weight_to_blockdiag_weight(cotangent, 3), 0);
  auto to_blocks = [](const std::vector<mx::array>& in) { return ops::dense_weight_to_blockdiag_weight(in[0], 3); };
  grad = gradients(to_blocks, {cotangent}, random({3, 2, 4}, 1))[0];
  expect_near(grad, ops::blockdiag_weight_to_dense_weight(random({3, 2, 4}, 1)), 0);
}

TEST(BlockdiagWeight, NamesWrongShapes) {
  EXPECT_THROW(ops::blockdiag_weight_to_dense_weight(random({2, 3}, 1)), Error);
  EXPECT_THROW(ops::dense_weight_to_blockdiag_weight(random({6, 8}, 1), 4), Error);
  EXPECT_THROW(ops::dense_weight_to_blockdiag_weight(random({6, 8}, 1), 0), Error);
  EXPECT_THROW(ops::dense_weight_to_blockdiag_weight(random({6}, 1), 1), Error);
}

TEST(ButterflyMultiply, EqualsGoldenTensors) {
  for (const auto& f : {multiply, multiply_fallback}) {
    for (auto name : {"blockdiag_butterfly_multiply_square_real", "blockdiag_butterfly_multiply_rect_real"}) {
      expect_golden(name, {"x", "w1", "w2"}, f);
    }
    for (auto name : {"blockdiag_butterfly_multiply_square_complex", "blockdiag_butterfly_multiply_rect_complex"}) {
      expect_golden(name, {"x", "w1", "w2"}, f, "y", complex_layout());
    }
  }
}

TEST(ButterflyMultiply, EinsumFormsEqualGoldenTensors) {
  expect_golden("bfly_einsum_simple", {"x", "w1", "w2"}, simple);
  expect_golden("bfly_einsum", {"x", "w1", "w2"}, einsum(Golden("bfly_einsum").attr("b2")));
  expect_golden("bfly_einsum_rank", {"x", "w1", "w2"}, of_rank);
}

TEST(ButterflyMultiply, EqualsTheDefinition) {
  expect_as_plain(multiply, plain_butterfly(false), {random({3, 9}, 1), random({3, 3, 3}, 2), random({3, 3, 3}, 3)});
  expect_as_plain(multiply, plain_butterfly(false), {random({2, 6}, 1), random({2, 6, 3}, 2), random({4, 5, 3}, 3)});
  expect_as_plain(by_pairs(multiply), plain_butterfly(true),
                  {random_pairs({2, 6}, 1), random_pairs({2, 6, 3}, 2), random_pairs({3, 2, 4}, 3)});
}

TEST(ButterflyMultiply, EinsumFormsEqualTheirDefinitions) {
  expect_as_plain(simple, plain_einsum(1, false), {random({2, 6}, 1), random({2, 3, 3}, 2), random({3, 4, 2}, 3)});
  expect_as_plain(einsum(3), plain_einsum(3, false), {random({2, 6}, 1), random({2, 8, 3}, 2), random({4, 6, 4}, 3)});
  expect_as_plain(of_rank, plain_einsum(1, true), {random({2, 6}, 1), random({2, 8, 3}, 2), random({4, 5, 4}, 3)});
}

TEST(ButterflyMultiply, DifferentiatesOnlyTracedInputs) {
  std::vector<mx::array> in{random({3, 9}, 1), random({3, 3, 3}, 2), random({3, 3, 3}, 3)};
  auto cotangent = random({3, 9}, 4);
  auto all = gradients(multiply, in, cotangent);
  for (size_t i = 0; i < 3; ++i) {
    auto one = [&](const mx::array& a) {
      auto with = in;
      with[i] = a;
      return mx::sum(multiply(with) * cotangent);
    };
    expect_near(mx::grad(one)(in[i]), all[i], 1e-6);
  }
}

TEST(ButterflyMultiply, NarrowTypesStayNearTheDefinition) {
  std::vector<mx::array> in{random({5, 24}, 1), random({4, 6, 6}, 2), random({3, 5, 8}, 3)};
  expect_value_as_plain(multiply, plain_butterfly(false), in, mx::bfloat16, 2e-2);
  expect_value_as_plain(multiply, plain_butterfly(false), in, mx::float16, 4e-3);
  expect_value_as_plain(multiply_fallback, plain_butterfly(false), in, mx::bfloat16, 2e-2);
  in = {random({5, 15}, 1), random({3, 8, 5}, 2), random({4, 18, 6}, 3)};
  expect_value_as_plain(einsum(3), plain_einsum(3, false), in, mx::bfloat16, 2e-2);
}

TEST(ButterflyMultiply, NarrowGradientsStayNearFloats) {
  std::vector<mx::array> in{random({5, 24}, 1), random({4, 6, 6}, 2), random({3, 5, 8}, 3)};
  auto cotangent = random({5, 15}, 4);
  const auto full = gradients(multiply, in, cotangent);
  for (auto [dtype, tolerance] : {std::pair{mx::bfloat16, 4e-2}, {mx::float16, 5e-3}}) {
    std::vector<mx::array> narrow;
    for (const auto& a : in) narrow.push_back(mx::astype(a, dtype));
    const auto ours = gradients(multiply, narrow, cotangent);
    for (size_t i = 0; i < in.size(); ++i) {
      EXPECT_EQ(ours[i].dtype(), dtype);
      expect_near(ours[i], full[i], tolerance);
    }
  }
}

TEST(ButterflyMultiply, SupportsAnyBatchAndNoRows) {
  auto w1 = random({4, 6, 6}, 2), w2 = random({3, 5, 8}, 3), x = random({2, 3, 24}, 1);
  auto rows = multiply({mx::reshape(x, {6, 24}), w1, w2});
  expect_near(multiply({x, w1, w2}), mx::reshape(rows, {2, 3, 15}), 1e-6);
  expect_near(multiply({mx::slice(x, {0, 0, 0}, {1, 1, 24}), w1, w2}), mx::reshape(mx::slice(rows, {0, 0}, {1, 15}), {1, 1, 15}), 1e-6);
  auto vector = mx::reshape(mx::slice(x, {0, 0, 0}, {1, 1, 24}), {24});
  EXPECT_EQ(multiply({vector, w1, w2}).shape(), (mx::Shape{15}));
  EXPECT_EQ(multiply({mx::zeros({2, 0, 24}), w1, w2}).shape(), (mx::Shape{2, 0, 15}));
  EXPECT_EQ(einsum(1)({mx::zeros({0, 24}), w1, random({3, 5, 8}, 3)}).shape(), (mx::Shape{0, 15}));
  auto grads = gradients(multiply, {mx::zeros({0, 24}), w1, w2}, mx::zeros({0, 15}));
  expect_near(grads[1], mx::zeros(w1.shape()), 0);
  expect_near(grads[2], mx::zeros(w2.shape()), 0);
}

TEST(ButterflyMultiply, SupportsSizeOne) {
  auto y = multiply({mx::full({2, 1}, 3.0f), mx::full({1, 1, 1}, 5.0f), mx::full({1, 1, 1}, 7.0f)});
  expect_near(y, mx::full({2, 1}, 105.0f), 0);
}

TEST(ButterflyMultiply, NamesWrongShapes) {
  auto message = [](const auto& f) -> std::string {
    try {
      f();
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing was thrown";
  };
  auto x = random({3, 24}, 1), w1 = random({4, 6, 6}, 2), w2 = random({3, 5, 8}, 3);
  EXPECT_EQ(message([&] { multiply({x, w1, random({3, 5, 7}, 3)}); }),
            "[blockdiag_butterfly_multiply] w1 (4,6,6) gives 4 x 6 columns, w2 (3,5,7) wants 3 x 7");
  EXPECT_EQ(message([&] { multiply({random({3, 20}, 1), w1, w2}); }),
            "[blockdiag_butterfly_multiply] x has shape (3,20), w1 wants 4 x 6 columns");
  EXPECT_EQ(message([&] { einsum(2)({x, w1, random({3, 5, 8}, 3)}); }),
            "[blockdiag_butterfly_multiply_einsum] w2 has 5 rows a block, not a multiple of b2 = 2");
  EXPECT_THROW(multiply({x, random({24, 6}, 2), w2}), Error);
  EXPECT_THROW(multiply({x, w1, random({24}, 2)}), Error);
  EXPECT_THROW(multiply({mx::zeros({3, 24}, mx::int32), w1, w2}), Error);
  EXPECT_THROW(simple({x, w1, w2}), Error);
  EXPECT_THROW(of_rank({x, w1, random({4, 5, 6}, 3)}), Error);
  EXPECT_THROW(einsum(0)({x, w1, w2}), Error);
  EXPECT_THROW(ops::blockdiag_butterfly_to_dense(random({4, 6}, 1), w2), Error);
  EXPECT_THROW(ops::blockdiag_butterfly_einsum_to_dense(w1, w2, 2), Error);
}

RC_GTEST_PROP(ButterflyMultiplyProperty, EqualsTheDefinitionAndItsDenseMatrix, ()) {
  auto size = [](const char* name) { return *rc::gen::inRange(1, 7).as(name); };
  const int rows = size("rows"), k = size("k"), p = size("p"), l = size("l"), s = size("s"), t = size("t");
  const int q = l * t;  // so that l * r = k * q
  std::vector<mx::array> in{random({rows, k * p}, 1), random({k, q, p}, 2), random({l, s, k * t}, 3)};
  const auto y = multiply(in);
  RC_ASSERT(relative_error(y, plain_butterfly(false)({Plain(in[0]), Plain(in[1]), Plain(in[2])})) <= 1e-5);
  RC_ASSERT(relative_error(multiply_fallback(in), y, kLeastScale) <= 1e-5);
  const auto dense = ops::blockdiag_butterfly_to_dense(in[1], in[2]);
  RC_ASSERT(dense.shape() == mx::Shape({s * l, k * p}));
  RC_ASSERT(relative_error(mx::matmul(in[0], mx::transpose(dense)), y, kLeastScale) <= 1e-5);
  RC_ASSERT(relative_error(of_rank(in), y, kLeastScale) <= 1e-6);
}

RC_GTEST_PROP(ButterflyMultiplyProperty, EinsumEqualsTheDefinitionAndItsDenseMatrix, ()) {
  auto size = [](const char* name) { return *rc::gen::inRange(1, 5).as(name); };
  const int rows = size("rows"), k = size("k"), i = size("i"), j = size("j"), l = size("l"), b1 = size("b1"), b2 = size("b2");
  std::vector<mx::array> in{random({rows, k * i}, 1), random({k, j * b1, i}, 2), random({j, l * b2, k * b1}, 3)};
  const auto y = einsum(b2)(in);
  RC_ASSERT(relative_error(y, plain_einsum(b2, false)({Plain(in[0]), Plain(in[1]), Plain(in[2])})) <= 1e-5);
  const auto dense = ops::blockdiag_butterfly_einsum_to_dense(in[1], in[2], b2);
  RC_ASSERT(relative_error(mx::matmul(in[0], mx::transpose(dense)), y, kLeastScale) <= 1e-5);
}

}  // namespace
}  // namespace m2bert
