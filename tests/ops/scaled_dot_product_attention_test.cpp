#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <limits>

#include "m2bert/error.h"
#include "m2bert/ops/attention.h"
#include "m2bert/ops/attention_options.h"
#include "m2bert/ops/backend/backend.h"
#include "plain.h"
#include "tests/ops/cpu_kernels.h"

namespace m2bert {
namespace {

using namespace testing_ops;
using ops::AttentionOptions;

// The options that a test sets; bias is the op's fourth input.
struct Setting {
  std::vector<float> slopes = {};
  bool causal = false;
  double scale = 0;                // 0: 1 / sqrt(d)
  std::vector<int> key_mask = {};  // [B * Lk]
};

// The definition, in double: q [B, h, Lq, d], k [B, h, Lk, d], v [B, h, Lk, dv], bias broadcast.
Plain plain_attention(const std::vector<Plain>& in, const Setting& set) {
  const Plain &q = in[0], &k = in[1], &v = in[2];
  const int Lk = k.dim(2);
  Plain y(mx::Shape{q.dim(0), q.dim(1), q.dim(2), v.dim(3)});
  const double scale = set.scale != 0 ? set.scale : 1 / std::sqrt(double(q.dim(3)));
  for (int b = 0; b < q.dim(0); ++b) {
    for (int h = 0; h < q.dim(1); ++h) {
      for (int i = 0; i < q.dim(2); ++i) {
        std::vector<double> e(static_cast<size_t>(Lk));
        double total = 0;
        for (int j = 0; j < Lk; ++j) {
          if ((set.causal && j > i) || (!set.key_mask.empty() && !set.key_mask[size_t(b * Lk + j)])) continue;
          double s = 0;
          for (int c = 0; c < q.dim(3); ++c) s += scale * q(b, h, i, c) * k(b, h, j, c);
          if (in.size() > 3) {
            auto at = [&](int axis, int n) { return in[3].dim(axis) == 1 ? 0 : n; };
            s += in[3](at(0, b), at(1, h), at(2, i), at(3, j));
          }
          if (!set.slopes.empty()) s -= double(set.slopes[size_t(h)]) * std::abs(i - j);
          total += e[size_t(j)] = std::exp(s);
        }
        for (int j = 0; j < Lk && total > 0; ++j) {
          for (int c = 0; c < v.dim(3); ++c) y(b, h, i, c) += e[size_t(j)] / total * v(b, h, j, c);
        }
      }
    }
  }
  return y;
}

AttentionOptions options_of(const Setting& set, const std::vector<mx::array>& in) {
  AttentionOptions o;
  if (in.size() > 3) o.bias = in[3];
  if (!set.key_mask.empty()) o.key_mask = mx::array(set.key_mask.data(), {in[1].shape(0), in[1].shape(2)}, mx::int32);
  o.alibi_slopes = set.slopes;
  o.causal = set.causal;
  if (set.scale != 0) o.scale = float(set.scale);
  return o;
}

// The three forms, as functions of (q, k, v[, bias]).
Op dispatched(const Setting& set) {
  return [=](const auto& in) { return ops::scaled_dot_product_attention(in[0], in[1], in[2], options_of(set, in)); };
}
Op fallback(const Setting& set) {
  return [=](const auto& in) { return ops::scaled_dot_product_attention_fallback(in[0], in[1], in[2], options_of(set, in)); };
}
mx::array in_blocks(const mx::array& q, const mx::array& k, const mx::array& v, const AttentionOptions& o, ops::AttentionBlocks blocks) {
  auto inputs = ops::streaming_inputs(q, k, v, o, {});
  if (o.key_mask) inputs.key_bias = ops::mask_bias(*o.key_mask, -std::numeric_limits<float>::infinity());
  return ops::streaming_attention(inputs, ops::streaming_options(q, o), {}, blocks);
}
Op blocks(const Setting& set, ops::AttentionBlocks sizes) {
  return [=](const auto& in) { return in_blocks(in[0], in[1], in[2], options_of(set, in), sizes); };
}

std::vector<mx::array> inputs(int B, int heads, int Lq, int Lk, int d, int dv) {
  return {random({B, heads, Lq, d}, 1), random({B, heads, Lk, d}, 2), random({B, heads, Lk, dv}, 3)};
}

// Every form against the definition and finite differences of it.
void expect_definition(const std::vector<mx::array>& in, const Setting& set) {
  auto plain = [&](const std::vector<Plain>& x) { return plain_attention(x, set); };
  SCOPED_TRACE("the dispatched form");
  expect_as_plain(dispatched(set), plain, in, 1e-5);
  SCOPED_TRACE("the fallback");
  expect_as_plain(fallback(set), plain, in, 1e-5);
  SCOPED_TRACE("composed of blocks");
  expect_as_plain(blocks(set, {2, 3}), plain, in, 1e-5);
  expect_as_plain(blocks(set, {}), plain, in, 1e-5);
}

TEST(ScaledDotProductAttention, EqualsItsDefinition) { expect_definition(inputs(2, 3, 5, 7, 4, 6), {}); }

TEST(ScaledDotProductAttention, SupportsOneQueryAndOneKey) { expect_definition(inputs(1, 1, 1, 1, 1, 1), {}); }

TEST(ScaledDotProductAttention, ScalesCausallyWithSlopes) {
  Setting set{ops::alibi_slopes(3), true, 0.3};
  expect_definition(inputs(1, 3, 6, 5, 3, 2), set);
  expect_definition(inputs(1, 3, 3, 8, 3, 2), set);
}

TEST(ScaledDotProductAttention, BiasOfEveryShape) {
  for (int broadcast = 0; broadcast < 16; ++broadcast) {
    SCOPED_TRACE(broadcast);
    auto in = inputs(2, 2, 3, 4, 2, 2);
    mx::Shape shape{2, 2, 3, 4};
    for (int axis = 0; axis < 4; ++axis) {
      if (broadcast >> axis & 1) shape[size_t(axis)] = 1;
    }
    in.push_back(random(shape, 4));
    const Setting set{{}, broadcast % 3 == 0};
    if (shape[3] != 1) {
      expect_definition(in, set);
      continue;
    }
    // Adding the same value to all keys changes nothing: the gradient is 0 up to rounding.
    for (const auto& f : {dispatched(set), fallback(set), blocks(set, {2, 3})}) {
      expect_near(f(in), f({in[0], in[1], in[2]}), 1e-5);
      auto g = gradients(f, in, random({2, 2, 3, 2}, 5));
      EXPECT_EQ(g[3].shape(), shape);
      EXPECT_LT(mx::max(mx::abs(g[3])).item<float>(), 1e-5);
    }
  }
}

TEST(ScaledDotProductAttention, AQueryWithoutKeysIsZero) {
  Setting set;
  set.key_mask = {0, 0, 0, 0, 1, 0, 1, 1};  // the first sequence has no key
  auto in = inputs(2, 2, 3, 4, 2, 2);
  expect_definition(in, set);
  auto first = mx::slice(dispatched(set)(in), {0, 0, 0, 0}, {1, 2, 3, 2});
  EXPECT_EQ(mx::max(mx::abs(first)).item<float>(), 0);
  set.causal = true;  // the second sequence's first key is not masked, so all its queries have one
  set.key_mask = {0, 1, 1, 1, 1, 0, 1, 0};
  expect_definition(in, set);
}

TEST(ScaledDotProductAttention, ALowBiasIsNotMinusInfinity) {
  // All keys with the same very low bias: the softmax over them is the usual one, with correct gradients.
  auto in = inputs(1, 2, 3, 4, 2, 2);
  in.push_back(mx::full({1, 1, 1, 4}, -9984.0f));
  auto cotangent = random({1, 2, 3, 2}, 5);
  auto zero = in;
  zero[3] = mx::zeros({1, 1, 1, 4});
  for (const auto& f : {dispatched({}), blocks({}, {2, 2})}) {
    expect_near(f(in), f(zero), 5e-3);  // -9984 leaves ten bits for the scores
    auto low = gradients(f, in, cotangent), plain = gradients(f, zero, cotangent);
    for (size_t i = 0; i < 3; ++i) expect_near(low[i], plain[i], 5e-3);
  }
}

TEST(ScaledDotProductAttention, BlockBoundariesOfTheKernel) {
  for (auto [Lq, Lk] : {std::pair{127, 255}, {128, 256}, {129, 257}, {300, 700}}) {
    SCOPED_TRACE(Lk);
    auto in = inputs(1, 2, Lq, Lk, 20, 20);
    in.push_back(random({1, 1, Lq, Lk}, 9));
    for (bool causal : {false, true}) {
      Setting set{ops::alibi_slopes(2), causal};
      expect_near(dispatched(set)(in), fallback(set)(in), 1e-5);
      expect_near(blocks(set, {128, 256})(in), fallback(set)(in), 1e-5);
      auto cotangent = random({1, 2, Lq, 20}, 4);
      auto expected = gradients(fallback(set), in, cotangent);
      auto ours = gradients(dispatched(set), in, cotangent), by_blocks = gradients(blocks(set, {128, 256}), in, cotangent);
      for (size_t i = 0; i < in.size(); ++i) {
        expect_near(ours[i], expected[i], 2e-5);
        expect_near(by_blocks[i], expected[i], 2e-5);
      }
    }
  }
}

RC_GTEST_PROP(ScaledDotProductAttention, FormsAgree, ()) {
  auto size = [](int most) { return *rc::gen::inRange(1, most + 1); };
  const int B = size(3), heads = size(4), Lq = size(20), Lk = size(20), d = size(9), dv = size(9);
  auto in = inputs(B, heads, Lq, Lk, d, dv);
  Setting set;
  set.causal = *rc::gen::arbitrary<bool>();
  if (*rc::gen::arbitrary<bool>()) set.slopes = ops::alibi_slopes(heads);
  if (*rc::gen::arbitrary<bool>()) set.key_mask = *rc::gen::container<std::vector<int>>(size_t(B * Lk), rc::gen::inRange(0, 2));
  if (*rc::gen::arbitrary<bool>()) {
    auto one_or = [](int n) { return *rc::gen::element(1, n); };
    in.push_back(random({one_or(B), one_or(heads), one_or(Lq), one_or(Lk)}, 4));
  }
  const ops::AttentionBlocks sizes{size(8), size(8)};
  auto cotangent = random({B, heads, Lq, dv}, 5);
  auto near = [](const mx::array& a, const mx::array& b) {
    return a.shape() == b.shape() && mx::max(mx::abs(a - b)).item<float>() <= 1e-5f * (1 + mx::max(mx::abs(b)).item<float>());
  };
  const auto y = fallback(set)(in);
  RC_ASSERT(near(dispatched(set)(in), y));
  RC_ASSERT(near(blocks(set, sizes)(in), y));
  auto expected = gradients(fallback(set), in, cotangent);
  auto ours = gradients(dispatched(set), in, cotangent), by_blocks = gradients(blocks(set, sizes), in, cotangent);
  for (size_t i = 0; i < in.size(); ++i) {
    RC_ASSERT(near(ours[i], expected[i]));
    RC_ASSERT(near(by_blocks[i], expected[i]));
  }
}

TEST(ScaledDotProductAttention, FewHeadsManyThreads) {  // the keys of a head are divided among threads
  for (int heads : {1, 3}) {
    auto in = inputs(1, heads, 130, 1100, 8, 8);
    auto cotangent = random({1, heads, 130, 8}, 4);
    auto ours = gradients(dispatched({}), in, cotangent), expected = gradients(fallback({}), in, cotangent);
    for (size_t i = 0; i < 3; ++i) expect_near(ours[i], expected[i], 2e-5);
  }
}

TEST(ScaledDotProductAttention, GradientsOfSomeInputs) {
  auto in = inputs(1, 2, 5, 6, 4, 4);
  in.push_back(random({1, 2, 5, 6}, 4));
  auto cotangent = random({1, 2, 5, 4}, 5);
  auto all = gradients(fallback({}), in, cotangent);
  for (const auto& f : {dispatched({}), blocks({}, {2, 4})}) {
    for (size_t one = 0; one < in.size(); ++one) {
      auto alone = mx::grad([&](const mx::array& x) {
        auto here = in;
        here[one] = x;
        return mx::sum(f(here) * cotangent);
      })(in[one]);
      expect_near(alone, all[one], 1e-5);
    }
  }
}

TEST(ScaledDotProductAttention, HalfPrecisionIsComputedInFloat) {
  auto plain = [](const std::vector<Plain>& in) { return plain_attention(in, {}); };
  auto in = inputs(2, 2, 9, 17, 8, 8);
  // The result's own rounding: half an ulp is 2^-9 (bfloat16) or 2^-12 (float16) of a value.
  expect_value_as_plain(dispatched({}), plain, in, mx::bfloat16, 4e-3);
  expect_value_as_plain(dispatched({}), plain, in, mx::float16, 5e-4);
  for (auto& x : in) x = mx::astype(x, mx::bfloat16);
  std::vector<mx::array> wide;
  for (const auto& x : in) wide.push_back(mx::astype(x, mx::float32));
  auto cotangent = random({2, 2, 9, 8}, 4);
  auto ours = gradients(dispatched({}), in, cotangent), full = gradients(fallback({}), wide, cotangent);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(ours[i].dtype(), mx::bfloat16);
    expect_near(ours[i], full[i], 1e-2);
  }
}

TEST(ScaledDotProductAttention, EmptyBatchesQueriesAndKeys) {
  for (auto [B, Lq, Lk] : {std::tuple{0, 3, 4}, {2, 0, 4}, {2, 3, 0}, {0, 0, 0}}) {
    auto in = inputs(B, 2, Lq, Lk, 4, 5);
    for (const auto& f : {dispatched({}), fallback({}), blocks({}, {})}) {
      auto y = f(in);
      EXPECT_EQ(y.shape(), (mx::Shape{B, 2, Lq, 5}));
      if (y.size() > 0) {
        EXPECT_EQ(mx::max(mx::abs(y)).item<float>(), 0);
      }
      auto g = gradients(f, in, mx::ones(y.shape()));
      for (size_t i = 0; i < 3; ++i) EXPECT_EQ(g[i].shape(), in[i].shape());
    }
  }
}

AttentionOptions with_dropout(float p, uint64_t seed) {
  AttentionOptions o;
  o.dropout = p;
  o.dropout_key = mx::random::key(seed);
  return o;
}

TEST(AttentionDropout, AllFormsDropTheSame) {
  auto in = inputs(2, 3, 9, 21, 4, 4);
  auto o = with_dropout(0.3f, 11);
  o.causal = true;
  Op ours = [&](const auto& x) { return ops::scaled_dot_product_attention(x[0], x[1], x[2], o); };
  Op full = [&](const auto& x) { return ops::scaled_dot_product_attention_fallback(x[0], x[1], x[2], o); };
  Op small = [&](const auto& x) { return in_blocks(x[0], x[1], x[2], o, {4, 5}); };
  auto cotangent = random({2, 3, 9, 4}, 4);
  auto expected = gradients(full, in, cotangent);
  for (const auto& f : {ours, small}) {
    expect_near(f(in), full(in), 1e-5);
    auto g = gradients(f, in, cotangent);
    for (size_t i = 0; i < 3; ++i) expect_near(g[i], expected[i], 1e-5);
  }
}

TEST(AttentionDropout, FollowsItsKeyAndKeepsTheMean) {
  // Equal scores and v the identity: the result is the mask, divided by the number of keys.
  const int L = 512;
  auto zero = mx::zeros({1, 2, L, 4}), v = mx::broadcast_to(mx::eye(L), {1, 2, L, L});
  auto mask = [&](uint64_t seed) {
    return ops::scaled_dot_product_attention(zero, zero, v, with_dropout(0.2f, seed)) * mx::array(float(L));
  };
  auto first = mask(1);
  expect_near(mask(1), first, 0);
  auto kept = mx::astype(mx::greater(first, mx::array(0.0f)), mx::float32);
  expect_near(first, kept / mx::array(0.8f), 1e-6);
  // 524288 draws: the standard deviation of the mean is 0.0006, of the mean of a row or column 0.018.
  EXPECT_NEAR(mx::mean(kept).item<float>(), 0.8, 0.003);
  for (int axis : {2, 3}) {
    auto rates = mx::mean(kept, axis);
    EXPECT_LT(mx::max(mx::abs(rates - mx::array(0.8f))).item<float>(), 0.1);
    EXPECT_NEAR(mx::std(rates).item<float>(), 0.0177, 0.003);  // as for independent draws
  }
  auto agree = [](const mx::array& a, const mx::array& b) { return mx::mean(mx::astype(mx::equal(a, b), mx::float32)).item<float>(); };
  EXPECT_NEAR(agree(mask(2), first), 0.68, 0.01);  // 0.8^2 + 0.2^2
  auto heads = mx::split(first, 2, 1);
  EXPECT_NEAR(agree(heads[0], heads[1]), 0.68, 0.01);
  auto shifted = mx::split(first, mx::Shape{1}, 2);
  EXPECT_NEAR(agree(shifted[1], mx::slice(first, {0, 0, 0, 0}, {1, 2, L - 1, L})), 0.68, 0.01);  // neighbouring queries
}

TEST(AttentionDropout, WantsAKeyAndAProbability) {
  auto in = inputs(1, 1, 2, 2, 2, 2);
  auto attend = [&](const AttentionOptions& o) { return ops::scaled_dot_product_attention(in[0], in[1], in[2], o); };
  AttentionOptions keyless;
  keyless.dropout = 0.1f;
  EXPECT_THROW(attend(keyless), Error);
  for (float p : {-0.1f, 1.0f, std::nanf("")}) EXPECT_THROW(attend(with_dropout(p, 1)), Error);
  auto bad = with_dropout(0.1f, 1);
  bad.dropout_key = mx::array({1.0f, 2.0f});
  EXPECT_THROW(attend(bad), Error);
  expect_near(attend(with_dropout(0, 1)), attend({}), 0);
}

TEST(ScaledDotProductAttention, HasNoSecondDerivative) {
  auto in = inputs(1, 1, 3, 3, 2, 2);
  auto first = [&](const mx::array& q) {
    return mx::sum(mx::square(
        mx::grad([&](const mx::array& x) { return mx::sum(mx::square(ops::scaled_dot_product_attention(x, in[1], in[2]))); })(q)));
  };
  if (testing_ops::has_cpu_kernels()) {
    EXPECT_THROW(mx::eval(mx::grad(first)(in[0])), Error);
  }
}

TEST(ScaledDotProductAttention, NamesWhatIsWrong) {
  auto in = inputs(2, 2, 3, 4, 5, 6);
  auto message = [&](std::vector<mx::array> x, const AttentionOptions& o = {}) -> std::string {
    try {
      ops::scaled_dot_product_attention(x[0], x[1], x[2], o);
    } catch (const Error& e) {
      return e.what();
    }
    return "nothing was thrown";
  };
  EXPECT_EQ(message({in[0], in[1], random({2, 2, 5, 6}, 1)}),
            "[scaled_dot_product_attention] q, k and v have shapes (2,2,3,5), (2,2,4,5), (2,2,5,6), want [B, heads, Lq, d], [B, heads, Lk, "
            "d], [B, heads, Lk, dv]");
  EXPECT_NE(message({mx::zeros({2, 3, 5}), in[1], in[2]}).find("q, k and v have shapes"), std::string::npos);
  EXPECT_NE(message({mx::astype(in[0], mx::int32), in[1], in[2]}).find("q, k and v are int32"), std::string::npos);
  EXPECT_NE(message({mx::astype(in[0], mx::bfloat16), in[1], in[2]}).find("want one of"), std::string::npos);
  auto with = [](auto change) {
    AttentionOptions o;
    change(o);
    return o;
  };
  EXPECT_NE(message(in, with([](auto& o) { o.bias = mx::zeros({2, 2, 3, 3}); })).find("bias has shape (2,2,3,3)"), std::string::npos);
  EXPECT_NE(message(in, with([](auto& o) { o.bias = mx::zeros({4}); })).find("bias has shape"), std::string::npos);
  EXPECT_NE(message(in, with([](auto& o) { o.bias = mx::zeros({1, 1, 1, 1}, mx::int32); })).find("bias is int32"), std::string::npos);
  EXPECT_NE(message(in, with([](auto& o) { o.key_mask = mx::ones({2, 3}); })).find("key_mask has shape (2,3)"), std::string::npos);
  EXPECT_NE(message(in, with([](auto& o) { o.alibi_slopes = {1}; })).find("1 ALiBi slopes for 2 heads"), std::string::npos);
  EXPECT_NE(message(in, with([](auto& o) { o.scale = std::nanf(""); })).find("scale is nan"), std::string::npos);
}

// MLX's peak memory during f, above the level before. The kernel's own scratch is not MLX's: 256 KiB a thread.
template <class F>
size_t peak_memory(const F& f) {
  mx::synchronize();
  const size_t before = mx::get_active_memory();
  mx::reset_peak_memory();
  f();
  mx::synchronize();
  return mx::get_peak_memory() - before;
}

TEST(ScaledDotProductAttention, NeverHoldsTheScores) {
  const int L = 4096;
  auto in = inputs(1, 1, L, L, 16, 16);
  auto cotangent = random({1, 1, L, 16}, 4);
  mx::eval(in), mx::eval(cotangent);
  const size_t scores = size_t(L) * size_t(L) * 4;
  auto all = [&](const Op& f) {
    return peak_memory([&] {
      auto g = gradients(f, in, cotangent);
      mx::eval(g);
    });
  };
  // A GPU that lags behind its launches holds the blocks of several.
  const size_t limit = mx::default_device() == mx::Device::gpu ? scores * 3 / 4 : scores / 4;
  EXPECT_LT(all(dispatched({})), limit);
  EXPECT_LT(all(blocks({}, {128, 128})), limit);
  EXPECT_GT(all(fallback({})), scores);  // the scores that the other two never hold
}

}  // namespace
}  // namespace m2bert
