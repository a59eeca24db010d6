#include "m2bert/ops/long_conv.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <numbers>

#include "golden.h"
#include "m2bert/error.h"
#include "plain.h"

namespace m2bert {
namespace {

using namespace testing_ops;

// The definition as sums: inputs u, k, D, then k_rev and the dropout mask if present.
struct Form {
  bool both_ways = false, gelu = false, mask = false;
};

std::ostream& operator<<(std::ostream& out, const Form& f) {
  return out << (f.both_ways ? "both ways" : "causal") << (f.gelu ? ", gelu" : "") << (f.mask ? ", mask" : "");
}

PlainOp plain_long_conv(Form form) {
  return [form](const std::vector<Plain>& in) {
    const auto &u = in[0], &k = in[1], &D = in[2];
    Plain y(u.shape);
    for (int b = 0; b < u.dim(0); ++b) {
      for (int c = 0; c < u.dim(2); ++c) {
        for (int t = 0; t < u.dim(1); ++t) {
          double sum = D(c) * u(b, t, c);
          for (int s = 0; s <= t; ++s) sum += k(t - s, c) * u(b, s, c);
          for (int s = t + 1; form.both_ways && s < u.dim(1); ++s) sum += in[3](s - t - 1, c) * u(b, s, c);
          if (form.gelu) sum *= 0.5 * std::erfc(-sum / std::numbers::sqrt2);
          y(b, t, c) = form.mask ? sum * in.back()(b, c) : sum;
        }
      }
    }
    return y;
  };
}

ops::LongConvOptions options(Form form, const std::vector<mx::array>& in) {
  return {form.gelu, form.mask ? std::optional(in.back()) : std::nullopt};
}

Op long_conv(Form form) {
  return [form](const std::vector<mx::array>& in) {
    return ops::long_conv(in[0], in[1], form.both_ways ? std::optional(in[3]) : std::nullopt, in[2], options(form, in));
  };
}

Op long_conv_fallback(Form form) {
  return [form](const std::vector<mx::array>& in) {
    return ops::long_conv_fallback(in[0], in[1], form.both_ways ? std::optional(in[3]) : std::nullopt, in[2], options(form, in));
  };
}

Op with_spectrum(Form form) {
  return [form](const std::vector<mx::array>& in) {
    auto spectrum = ops::long_conv_spectrum(in[1], form.both_ways ? std::optional(in[3]) : std::nullopt);
    return ops::long_conv_with_spectrum(in[0], spectrum, in[2], options(form, in));
  };
}

std::vector<mx::array> inputs(Form form, int B, int L, int d) {
  std::vector<mx::array> in{random({B, L, d}, 1), random({L, d}, 2), random({d}, 3)};
  if (form.both_ways) in.push_back(random({L, d}, 4));
  if (form.mask) in.push_back(random({B, d}, 5));
  return in;
}

Form arbitrary_form() { return {*rc::gen::arbitrary<bool>(), *rc::gen::arbitrary<bool>(), *rc::gen::arbitrary<bool>()}; }

// From torch's layout [B, H, L] and filters [H, L]: here positions come before channels. D and the mask do not change.
Layout positions_last() {
  auto swap = [](const mx::array& x, const std::string& name) {
    return x.ndim() > 1 && name != "dropout_mask" ? mx::swapaxes(x, -1, -2) : x;
  };
  return {swap, swap};
}

TEST(LongConvGolden, Causal) {
  for (const char* L : {"10", "16", "33"}) {
    for (const auto& form : {long_conv({}), long_conv_fallback({}), with_spectrum({})}) {
      expect_golden("fftconv_causal_L" + std::string(L), {"u", "k", "D"}, form, "y", positions_last());
    }
  }
}

TEST(LongConvGolden, BothWays) {
  for (const char* L : {"10", "16", "33"}) {
    const Form both{true, false, false};
    for (const auto& form : {long_conv(both), long_conv_fallback(both), with_spectrum(both)}) {
      expect_golden("fftconv_bidir_L" + std::string(L), {"u", "k_fwd", "D", "k_rev"}, form, "y", positions_last());
    }
  }
}

TEST(LongConvGolden, ReverseFromZero) {
  auto f = [](const std::vector<mx::array>& in) {
    auto filter = ops::with_reverse_from_zero(in[1], in[2]);
    return ops::long_conv(in[0], filter.k_ld, filter.k_rev_ld, in[3]);
  };
  expect_golden("fftconv_krev_arg", {"u", "k", "k_rev", "D"}, f, "y", positions_last());
}

TEST(LongConvGolden, GeluAndMask) {
  const Form form{false, true, true};
  for (const auto& f : {long_conv(form), long_conv_fallback(form), with_spectrum(form)}) {
    expect_golden("fftconv_gelu_mask", {"u", "k", "D", "dropout_mask"}, f, "y", positions_last());
  }
}

// float32 against sums in double, values and all gradients: 1e-5 of the largest value (sums of few terms may cancel).
RC_GTEST_PROP(LongConvProperties, FollowsItsDefinitionWithGradients, ()) {
  const Form form = arbitrary_form();
  const int B = *rc::gen::inRange(1, 3), L = *rc::gen::inRange(1, 20), d = *rc::gen::inRange(2, 4);
  const auto op = *rc::gen::elementOf(std::vector<int>{0, 1, 2});
  SCOPED_TRACE(::testing::Message() << form << " B" << B << " L" << L << " d" << d << " op " << op);
  expect_as_plain(op == 0   ? long_conv(form)
                  : op == 1 ? long_conv_fallback(form)
                            : with_spectrum(form),
                  plain_long_conv(form), inputs(form, B, L, d), 1e-5);
  RC_ASSERT(!::testing::Test::HasFailure());
}

RC_GTEST_PROP(LongConvProperties, FollowsItsDefinitionAtAnyLength, ()) {
  const Form form = arbitrary_form();
  const int L = *rc::gen::inRange(1, 130);
  SCOPED_TRACE(::testing::Message() << form << " L" << L);
  const auto in = inputs(form, 2, L, 2);
  for (auto dtype : {mx::float32, mx::bfloat16, mx::float16}) {  // 8, 11 bits: half an ulp of the result, since the arithmetic is float32
    const double tolerance = dtype == mx::float32 ? 5e-6 : dtype == mx::bfloat16 ? 4e-3 : 5e-4;
    expect_value_as_plain(long_conv(form), plain_long_conv(form), in, dtype, tolerance);
    expect_value_as_plain(with_spectrum(form), plain_long_conv(form), in, dtype, tolerance);
  }
  RC_ASSERT(!::testing::Test::HasFailure());
}

class LongConv : public ::testing::TestWithParam<int> {};

TEST_P(LongConv, EqualsFallbackWithGradients) {
  for (Form form : {Form{false, false, false}, Form{true, false, false}, Form{true, true, true}}) {
    SCOPED_TRACE(::testing::Message() << form);
    auto in = inputs(form, 2, GetParam(), 3);
    expect_near(long_conv(form)(in), long_conv_fallback(form)(in), 2e-6);
    auto cotangent = random({2, GetParam(), 3}, 9);
    auto ours = gradients(long_conv(form), in, cotangent), expected = gradients(long_conv_fallback(form), in, cotangent);
    for (size_t i = 0; i < in.size(); ++i) expect_near(ours[i], expected[i], 5e-6);
  }
}

// It must not matter which inputs are traced.
TEST_P(LongConv, GradientsOfSomeInputs) {
  const Form form{true, true, true};
  auto in = inputs(form, 2, GetParam(), 3);
  auto cotangent = random({2, GetParam(), 3}, 9);
  auto all = gradients(long_conv(form), in, cotangent);
  for (int i = 0; i < int(in.size()); ++i) {
    auto loss = [&](const std::vector<mx::array>& x) { return mx::sum(long_conv(form)(x) * cotangent); };
    expect_near(mx::grad(loss, std::vector<int>{i})(in)[0], all[size_t(i)], 1e-6);
  }
}

TEST_P(LongConv, GradientsHaveTheDtypesOfTheInputs) {
  const Form form{true, true, true};
  auto in = inputs(form, 2, GetParam(), 3);
  auto half = in;
  for (auto& x : half) x = mx::astype(x, mx::bfloat16);
  for (size_t i = 0; i < in.size(); ++i) in[i] = mx::astype(half[i], mx::float32);
  auto cotangent = random({2, GetParam(), 3}, 9);
  auto ours = gradients(long_conv(form), half, cotangent), expected = gradients(long_conv(form), in, cotangent);
  for (size_t i = 0; i < in.size(); ++i) {
    EXPECT_EQ(ours[i].dtype(), mx::bfloat16);
    expect_near(ours[i], expected[i], 1e-2);  // the cotangent is rounded to bfloat16 as well
  }
}

INSTANTIATE_TEST_SUITE_P(Lengths, LongConv, ::testing::Values(1, 2, 3, 16, 33, 97, 128, 1009));

// The last row of k_rev is unused, so its gradient is 0.
TEST(LongConv, LastReverseRowIsUnused) {
  auto in = inputs({true, false, false}, 1, 7, 2);
  auto gradient = gradients(long_conv({true, false, false}), in, random({1, 7, 2}, 9))[3];
  EXPECT_LE(mx::max(mx::abs(mx::slice(gradient, {6, 0}, {7, 2}))).item<float>(), 1e-6);
}

TEST(LongConv, SpectrumHasSmoothLengths) {
  EXPECT_EQ(ops::spectrum_rows(1), 2);
  EXPECT_EQ(ops::spectrum_rows(128), 129);
  EXPECT_EQ(ops::spectrum_rows(7), 9);
  EXPECT_EQ(ops::spectrum_rows(97), 101);
  EXPECT_EQ(ops::spectrum_rows(8191), 8193);
  for (int L : {1, 7, 97, 120}) {
    EXPECT_EQ(ops::long_conv_spectrum(random({L, 2}, 1), random({L, 2}, 2)).shape(), mx::Shape({ops::spectrum_rows(L), 2}));
  }
}

TEST(LongConv, SupportsAnEmptyBatch) {
  const Form form{true, true, true};
  auto in = inputs(form, 0, 5, 3);
  for (const auto& f : {long_conv(form), long_conv_fallback(form), with_spectrum(form)}) {
    EXPECT_EQ(f(in).shape(), mx::Shape({0, 5, 3}));
    auto g = gradients(f, in, mx::zeros({0, 5, 3}));
    for (size_t i = 0; i < in.size(); ++i) expect_near(g[i], mx::zeros_like(in[i]), 0);
  }
}

TEST(LongConv, NamesWrongShapesAndDtypes) {
  auto u = random({1, 8, 4}, 1), k = random({8, 4}, 2), D = random({4}, 3);
  EXPECT_THROW(ops::long_conv(random({8, 4}, 1), k, std::nullopt, D), Error);
  EXPECT_THROW(ops::long_conv(u, random({7, 4}, 2), std::nullopt, D), Error);
  EXPECT_THROW(ops::long_conv(u, random({8, 3}, 2), std::nullopt, D), Error);
  EXPECT_THROW(ops::long_conv(u, k, random({7, 4}, 2), D), Error);
  EXPECT_THROW(ops::long_conv(u, k, std::nullopt, random({3}, 1)), Error);
  EXPECT_THROW(ops::long_conv(u, k, std::nullopt, D, {false, random({1, 3}, 1)}), Error);
  EXPECT_THROW(ops::long_conv(mx::astype(u, mx::int32), k, std::nullopt, D), Error);
  EXPECT_THROW(ops::long_conv(u, mx::astype(k, mx::complex64), std::nullopt, D), Error);
  EXPECT_THROW(ops::long_conv(mx::zeros({1, 0, 4}), mx::zeros({0, 4}), std::nullopt, D), Error);
  EXPECT_THROW(ops::long_conv_with_spectrum(u, ops::long_conv_spectrum(random({6, 4}, 2), std::nullopt), D), Error);
  EXPECT_THROW(ops::long_conv_with_spectrum(u, ops::long_conv_spectrum(random({8, 3}, 2), std::nullopt), D), Error);
  EXPECT_THROW(ops::long_conv_with_spectrum(u, random({9, 4}, 2), D), Error);
  EXPECT_THROW(ops::long_conv_spectrum(k, random({7, 4}, 2)), Error);
  EXPECT_THROW(ops::with_reverse_from_zero(k, random({7, 4}, 2)), Error);
  try {
    ops::long_conv(u, random({7, 4}, 2), std::nullopt, D);
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "[long_conv] k has shape (7,4), wants [L, d] = [8, 4]");
  }
}

}  // namespace
}  // namespace m2bert
