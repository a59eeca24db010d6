// Tolerances, relative to the largest value: golden tensors as in golden.h; 5e-6 for matrices that float32 singular values reproduce.
#include "m2bert/ops/low_rank.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <limits>

#include "golden.h"
#include "m2bert/error.h"
#include "plain.h"

namespace m2bert {
namespace {

using namespace testing_ops;

mx::array product(const mx::array& matrix, int rank) {
  auto [u, vt] = ops::low_rank_project(matrix, rank);
  return mx::matmul(u, vt);
}

mx::array random_complex(mx::Shape shape, int seed) {
  shape.push_back(2);
  return to_complex(random(shape, seed));
}

// A matrix [..., m, n] of this rank.
mx::array of_rank(int rank, int m, int n, bool complex, int seed) {
  auto factor = [&](mx::Shape shape, int which) { return complex ? random_complex(shape, which) : random(shape, which); };
  return mx::matmul(factor({m, rank}, seed), factor({rank, n}, seed + 1));
}

double residual(const mx::array& matrix, const mx::array& approximation) {
  return ops::projection_residual(matrix, approximation).item<float>();
}

TEST(LowRankProject, EqualsGoldenTensors) {
  Golden real("low_rank_project_real"), complex("low_rank_project_complex");
  real.expect_near(product(real.real("in.M"), real.attr("rank")), "out.prod");
  complex.expect_near(product(complex.complex("in.M"), complex.attr("rank")), "out.prod");
  // The factors are unique up to a factor of modulus 1, so the absolute values of entries are unique.
  auto [u, vt] = ops::low_rank_project(real.real("in.M"), real.attr("rank"));
  expect_near(mx::abs(u), mx::abs(real.real("out.U")), 1e-5);
  expect_near(mx::abs(vt), mx::abs(real.real("out.Vt")), 1e-5);
}

TEST(LowRankProject, SharesTheSingularValues) {
  auto [u, vt] = ops::low_rank_project(mx::array({3.0f, 0.0f, 0.0f, 0.0f, 0.0f, 4.0f}, {3, 2}), 2);
  expect_near(mx::matmul(mx::transpose(u), u), mx::array({4.0f, 0.0f, 0.0f, 3.0f}, {2, 2}), 1e-6);
  expect_near(mx::matmul(vt, mx::transpose(vt)), mx::array({4.0f, 0.0f, 0.0f, 3.0f}, {2, 2}), 1e-6);
}

// Eckart and Young: the norm of the residual is that of the omitted singular values, and it is orthogonal to the approximation.
TEST(LowRankProject, IsTheNearest) {
  auto matrix = random({9, 6}, 1);
  auto near = product(matrix, 2);
  auto rest = matrix - near;
  EXPECT_LT(std::abs(mx::sum(rest * near).item<float>()), 1e-4);
  for (int seed = 2; seed < 40; ++seed) {
    auto [u, vt] = ops::low_rank_project(matrix, 2);
    auto other = mx::matmul(u + mx::array(0.05f) * random({9, 2}, seed), vt + mx::array(0.05f) * random({2, 6}, seed + 100));
    EXPECT_GT(residual(matrix, other), residual(matrix, near));
  }
}

TEST(LowRankProject, NarrowTypesKeepTheirDtype) {
  for (auto [dtype, tolerance] : {std::pair{mx::bfloat16, 2e-2}, {mx::float16, 3e-3}}) {
    auto matrix = random({7, 5}, 1, dtype);
    auto [u, vt] = ops::low_rank_project(matrix, 2);
    EXPECT_EQ(u.dtype(), dtype);
    EXPECT_EQ(vt.dtype(), dtype);
    expect_near(mx::matmul(u, vt), product(mx::astype(matrix, mx::float32), 2), tolerance);
  }
}

TEST(LowRankProject, SupportsStridedMatricesBatchesAndNone) {
  auto matrix = random({2, 3, 4, 6}, 1);
  auto turned = mx::swapaxes(matrix, -1, -2);
  auto near = product(turned, 2);
  for (int i = 0; i < 2; ++i) {
    auto one = mx::squeeze(mx::slice(matrix, {i, 1, 0, 0}, {i + 1, 2, 4, 6}), std::vector<int>{0, 1});
    expect_near(mx::squeeze(mx::slice(near, {i, 1, 0, 0}, {i + 1, 2, 6, 4}), std::vector<int>{0, 1}), mx::transpose(product(one, 2)), 5e-6);
  }
  auto [u, vt] = ops::low_rank_project(mx::zeros({0, 4, 6}), 3);
  EXPECT_EQ(u.shape(), (mx::Shape{0, 4, 3}));
  EXPECT_EQ(vt.shape(), (mx::Shape{0, 3, 6}));
  auto [one_u, one_vt] = ops::low_rank_project(mx::full({1, 1}, -4.0f), 1);
  expect_near(mx::abs(one_u), mx::full({1, 1}, 2.0f), 1e-6);
  expect_near(mx::matmul(one_u, one_vt), mx::full({1, 1}, -4.0f), 1e-6);
}

// The deviation of float32 from float64 that the header states (GPUs have no float64).
TEST(LowRankProject, ApproximatesAsWellAsInDouble) {
  if (mx::default_device() == mx::Device(mx::Device::gpu)) GTEST_SKIP() << "GPUs have no float64";
  for (auto [m, n, rank] : {std::tuple{5, 7, 2}, {32, 32, 3}, {128, 64, 1}, {24, 96, 8}}) {
    auto matrix = random({m, n}, m);
    auto [u, vt] = ops::low_rank_project(mx::astype(matrix, mx::float64, mx::Device::cpu), rank, mx::Device::cpu);
    EXPECT_EQ(u.dtype(), mx::float64);
    auto in_double = mx::astype(mx::matmul(u, vt, mx::Device::cpu), mx::float32, mx::Device::cpu);
    const double ours = residual(matrix, product(matrix, rank)), expected = residual(matrix, in_double);
    EXPECT_NEAR(ours, expected, 2e-6 * expected);
    expect_near(product(matrix, rank), in_double, 2e-4);
  }
}

TEST(LowRankProject, OfZeroIsZero) {
  auto [u, vt] = ops::low_rank_project(mx::zeros({3, 5}), 2);
  expect_near(u, mx::zeros({3, 2}), 0);
  expect_near(vt, mx::zeros({2, 5}), 0);
}

TEST(LowRankProject, HasNoGradientAndSaysSo) {
  auto loss = [](const mx::array& matrix) { return mx::sum(ops::low_rank_project(matrix, 2).first); };
  try {
    mx::eval(mx::grad(loss)(random({4, 5}, 1)));
    FAIL() << "a gradient came out";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("[low_rank_project] has no gradient"), std::string::npos) << error.what();
  }
  // As a constant it may be combined with differentiated terms.
  auto beside = [](const mx::array& matrix) { return mx::sum(matrix * product(mx::stop_gradient(matrix), 2)); };
  expect_near(mx::grad(beside)(random({4, 5}, 1)), product(random({4, 5}, 1), 2), 1e-6);
}

TEST(LowRankProject, NamesWhatIsWrong) {
  auto message = [](const mx::array& matrix, int rank) -> std::string {
    try {
      ops::low_rank_project(matrix, rank);
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing was thrown";
  };
  EXPECT_EQ(message(random({3, 5}, 1), 4), "[low_rank_project] rank is 4; a matrix of shape (3,5) has a rank of 1 to 3");
  EXPECT_EQ(message(random({3, 5}, 1), 0), "[low_rank_project] rank is 0; a matrix of shape (3,5) has a rank of 1 to 3");
  EXPECT_EQ(message(mx::zeros({3, 0}), 1), "[low_rank_project] matrix is empty: its shape is (3,0)");
  EXPECT_EQ(message(random({3}, 1), 1), "[low_rank_project] matrix has shape (3), wants [..., m, n]");
  EXPECT_EQ(message(mx::zeros({3, 3}, mx::int32), 1), "[low_rank_project] matrix is int32, wants floating or complex");
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    auto wrong = mx::concatenate({random({2, 4}, 1), mx::full({1, 4}, bad)}, 0);
    EXPECT_EQ(message(wrong, 1), "[low_rank_project] matrix of shape (3,4) has values that are infinite or not numbers");
    auto complex = mx::astype(wrong, mx::complex64) * mx::array(std::complex<float>(0, 1));
    EXPECT_EQ(message(complex, 1), "[low_rank_project] matrix of shape (3,4) has values that are infinite or not numbers");
  }
}

RC_GTEST_PROP(LowRankProjectProperty, GivesBackAMatrixOfThatRank, (bool complex)) {
  const int m = *rc::gen::inRange(1, 24).as("m"), n = *rc::gen::inRange(1, 24).as("n");
  const int rank = *rc::gen::inRange(1, std::min(m, n) + 1).as("rank");
  auto matrix = of_rank(rank, m, n, complex, 1 + m * 31 + n);
  auto [u, vt] = ops::low_rank_project(matrix, rank);
  RC_ASSERT(u.shape() == mx::Shape({m, rank}));
  RC_ASSERT(vt.shape() == mx::Shape({rank, n}));
  RC_ASSERT(u.dtype() == matrix.dtype());
  RC_ASSERT(residual(matrix, mx::matmul(u, vt)) <= 5e-6);
}

TEST(ProjectionResidual, IsTheRelativeDistance) {
  auto matrix = mx::array({3.0f, 0.0f, 0.0f, 4.0f}, {2, 2});
  EXPECT_FLOAT_EQ(float(residual(matrix, mx::array({3.0f, 0.0f, 0.0f, 3.0f}, {2, 2}))), 0.2f);
  EXPECT_EQ(residual(matrix, matrix), 0);
  EXPECT_EQ(residual(mx::zeros({2, 2}), mx::zeros({2, 2})), 0);
  EXPECT_TRUE(std::isinf(residual(mx::zeros({2, 2}), matrix)));
  auto z = random_complex({3, 4}, 1);
  EXPECT_NEAR(residual(z, z * mx::array(std::complex<float>(0, 1))), std::sqrt(2.0), 1e-6);
  EXPECT_THROW(residual(matrix, mx::zeros({2, 3})), Error);
}

}  // namespace
}  // namespace m2bert
