// Tests the harness itself: it must find errors.
#include "golden.h"

#include <gtest/gtest-spi.h>

#include "m2bert/ops/activation.h"
#include "plain.h"

namespace m2bert {
namespace {

using namespace testing_ops;

TEST(Golden, FindsAWrongValue) {
  EXPECT_NONFATAL_FAILURE(
      {
        auto wrong = [](const std::vector<mx::array>& in) { return ops::gelu(in[0]) + mx::array(1e-4f); };
        expect_golden("gelu_erf", {"x"}, wrong);
      },
      "out.y");
}

TEST(Golden, FindsAWrongGradient) {
  auto wrong = mx::custom_function([](const std::vector<mx::array>& in) { return std::vector{ops::gelu_fallback(in[0])}; },
                                   [](const auto&, const auto& cotangents, const auto&) { return std::vector{cotangents[0]}; });
  EXPECT_NONFATAL_FAILURE(expect_golden("gelu_erf", {"x"}, [&](const auto& in) { return wrong(in)[0]; }), "grad.x");
}

TEST(PlainTest, FindsAWrongGradient) {
  auto square = [](const std::vector<Plain>& in) {
    Plain y(in[0].shape);
    for (size_t i = 0; i < y.values.size(); ++i) y.values[i] = in[0].values[i] * in[0].values[i];
    return y;
  };
  auto x = random({2, 3}, 1);
  expect_as_plain([](const auto& in) { return in[0] * in[0]; }, square, {x});
  EXPECT_NONFATAL_FAILURE(
      expect_as_plain([](const std::vector<mx::array>& in) { return in[0] * mx::stop_gradient(in[0]); }, square, {random({2, 3}, 1)}),
      "gradient of input 0");
}

TEST(Golden, TellsComplexFromPairs) {
  auto pairs = random({3, 2}, 1);
  expect_near(to_pairs(to_complex(pairs)), pairs, 0);
}

}  // namespace
}  // namespace m2bert
