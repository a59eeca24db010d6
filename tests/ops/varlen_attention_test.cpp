#include "m2bert/ops/varlen_attention.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/padding.h"
#include "plain.h"

namespace m2bert {
namespace {

using namespace testing_ops;
using ops::AttentionOptions;

// With kernels disabled, as on a GPU.
struct WithoutKernels {
  WithoutKernels() { ops::enable_kernels(false); }
  ~WithoutKernels() { ops::enable_kernels(true); }
};
Op without_kernels(const Op& f) {
  return [=](const auto& in) {
    WithoutKernels off;
    return f(in);
  };
}

// The definition in double: softmax(q k^T / sqrt(d)) v within each sequence; q [nnz_q, h, d].
Plain plain_varlen(const std::vector<Plain>& in, const std::vector<int>& of_q, const std::vector<int>& of_k) {
  const Plain &q = in[0], &k = in[1], &v = in[2];
  Plain y(mx::Shape{q.dim(0), q.dim(1), v.dim(2)});
  for (size_t n = 0; n + 1 < of_q.size(); ++n) {
    for (int h = 0; h < q.dim(1); ++h) {
      for (int i = of_q[n]; i < of_q[n + 1]; ++i) {
        double total = 0;
        for (int j = of_k[n]; j < of_k[n + 1]; ++j) {
          double s = 0;
          for (int c = 0; c < q.dim(2); ++c) s += q(i, h, c) * k(j, h, c) / std::sqrt(double(q.dim(2)));
          total += std::exp(s);
          for (int c = 0; c < v.dim(2); ++c) y(i, h, c) += std::exp(s) * v(j, h, c);
        }
        for (int c = 0; c < v.dim(2) && total > 0; ++c) y(i, h, c) /= total;
      }
    }
  }
  return y;
}

TEST(VarlenAttention, EqualsItsDefinition) {
  const std::vector<int> of_q{0, 3, 3, 4, 8}, of_k{0, 2, 5, 5, 9};  // an empty query, and a query (3) without keys
  Op f = [&](const auto& in) { return ops::attention_varlen(in[0], in[1], in[2], of_q, of_k); };
  auto plain = [&](const std::vector<Plain>& in) { return plain_varlen(in, of_q, of_k); };
  const std::vector<mx::array> in{random({8, 2, 4}, 1), random({9, 2, 4}, 2), random({9, 2, 3}, 3)};
  expect_as_plain(f, plain, in, 1e-5);
  expect_as_plain(without_kernels(f), plain, in, 1e-5);
  Op fallback = [&](const auto& x) { return ops::attention_varlen_fallback(x[0], x[1], x[2], of_q, of_k); };
  expect_as_plain(fallback, plain, in, 1e-5);
  expect_value_as_plain(f, plain, in, mx::bfloat16, 4e-3);
}

// Offsets of n sequences, some empty.
std::vector<int> some_offsets(int n, int longest) {
  std::vector<int> offsets{0};
  for (int b = 0; b < n; ++b) offsets.push_back(offsets.back() + *rc::gen::inRange(0, longest + 1));
  return offsets;
}

RC_GTEST_PROP(VarlenAttention, FormsAgree, ()) {
  const int n = *rc::gen::inRange(0, 5), heads = *rc::gen::inRange(1, 4), d = *rc::gen::inRange(1, 9);
  const auto of_q = some_offsets(n, 12), of_k = some_offsets(n, 12);
  std::vector<mx::array> in{random({of_q.back(), heads, d}, 1), random({of_k.back(), heads, d}, 2), random({of_k.back(), heads, d}, 3)};
  AttentionOptions options;
  options.causal = *rc::gen::arbitrary<bool>();
  if (*rc::gen::arbitrary<bool>()) options.alibi_slopes = ops::alibi_slopes(heads);
  const bool bias = n > 0 && *rc::gen::arbitrary<bool>();
  if (bias) in.push_back(random({*rc::gen::element(1, n), *rc::gen::element(1, heads), 12, *rc::gen::element(1, 12)}, 4));
  auto with = [&](const std::vector<mx::array>& x) {
    auto o = options;
    if (bias) o.bias = x[3];
    return o;
  };
  Op ours = [&](const auto& x) { return ops::attention_varlen(x[0], x[1], x[2], of_q, of_k, with(x)); };
  Op fallback = [&](const auto& x) { return ops::attention_varlen_fallback(x[0], x[1], x[2], of_q, of_k, with(x)); };
  auto near = [](const mx::array& a, const mx::array& b) {
    if (a.shape() != b.shape()) return false;
    return a.size() == 0 || mx::max(mx::abs(a - b)).item<float>() <= 1e-5f * (1 + mx::max(mx::abs(b)).item<float>());
  };
  auto cotangent = random({of_q.back(), heads, d}, 5);
  const auto y = fallback(in);
  const auto expected = gradients(fallback, in, cotangent);
  for (const auto& f : {ours, without_kernels(ours)}) {
    RC_ASSERT(near(f(in), y));
    const auto g = gradients(f, in, cotangent);
    for (size_t i = 0; i < in.size(); ++i) RC_ASSERT(near(g[i], expected[i]));
  }
}

// Heads with few keys have a kernel of their own; 130 and 300 keys are too many for it.
TEST(VarlenAttention, OfWideHeadsEqualsItsDefinition) {
  const std::vector<int> of_q{0, 1, 8, 8, 35, 100, 230, 231}, of_k{0, 1, 8, 10, 10, 75, 205, 505};
  for (const bool alibi : {false, true}) {
    AttentionOptions options;
    if (alibi) options.alibi_slopes = ops::alibi_slopes(3);
    Op f = [&](const auto& x) { return ops::attention_varlen(x[0], x[1], x[2], of_q, of_k, options); };
    Op fallback = [&](const auto& x) { return ops::attention_varlen_fallback(x[0], x[1], x[2], of_q, of_k, options); };
    for (const int dv : {32, 48}) {  // 48: with AVX-512 the last panel is half as wide
      const std::vector<mx::array> in{random({231, 3, 36}, 1), random({505, 3, 36}, 2), random({505, 3, dv}, 3)};
      expect_near(f(in), fallback(in), 1e-5);
      const auto cotangent = random({231, 3, dv}, 4);
      const auto ours = gradients(f, in, cotangent), expected = gradients(fallback, in, cotangent);
      for (size_t i = 0; i < in.size(); ++i) expect_near(ours[i], expected[i], 1e-5);
    }
  }
}

TEST(VarlenAttention, OfQkvEqualsThatOfItsParts) {
  const std::vector<int> offsets{0, 1, 1, 18, 45, 173, 302};
  for (const int d : {4, 32, 64}) {
    for (const auto dtype : {mx::float32, mx::bfloat16}) {
      const auto qkv = random({302, 3, 2, d}, 1, dtype);
      auto part = [&](int i) { return mx::squeeze(mx::slice(qkv, {0, i, 0, 0}, {302, i + 1, 2, d}), 1); };
      AttentionOptions options;
      options.scale = 0.3f;
      options.alibi_slopes = ops::alibi_slopes(2);
      auto f = [&] { return ops::attention_varlen_qkv(qkv, offsets, options); };
      const auto expected = ops::attention_varlen_fallback(part(0), part(1), part(2), offsets, offsets, options);
      EXPECT_EQ(f().dtype(), dtype);
      const double tolerance = dtype == mx::float32 ? 1e-5 : 8e-3;
      expect_near(f(), expected, tolerance);
      WithoutKernels off;
      expect_near(f(), expected, tolerance);
    }
  }
}

TEST(VarlenAttention, OfQkvNamesWhatIsWrong) {
  const std::vector<int> offsets{0, 4};
  const auto qkv = random({4, 3, 2, 16}, 1);
  EXPECT_THROW(ops::attention_varlen_qkv(random({4, 2, 2, 16}, 1), offsets), Error);
  EXPECT_THROW(ops::attention_varlen_qkv(random({5, 3, 2, 16}, 1), offsets), Error);
  AttentionOptions biased;
  biased.bias = mx::zeros({1, 1, 4, 4});
  EXPECT_THROW(ops::attention_varlen_qkv(qkv, offsets, biased), Error);
  EXPECT_EQ(ops::attention_varlen_qkv(mx::zeros({0, 3, 2, 16}), std::vector<int>{0}).shape(), (mx::Shape{0, 2, 16}));
}

TEST(VarlenAttention, EqualsPaddedAttention) {
  auto mask = mx::array({1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 1}, {3, 5}, mx::int32);
  mask = mx::sort(mask, 1) == mx::array(1);  // left-padded: only the rows with tokens count
  auto u = ops::unpadding(mask);
  auto x = random({3, 5, 2, 4}, 1);
  AttentionOptions padded;
  padded.key_mask = mask;
  padded.alibi_slopes = ops::alibi_slopes(2);
  auto heads = mx::swapaxes(x, 1, 2);
  auto expected = ops::unpad_input(mx::swapaxes(ops::scaled_dot_product_attention(heads, heads, heads, padded), 1, 2), u);
  auto rows = ops::unpad_input(x, u);
  AttentionOptions options;
  options.alibi_slopes = padded.alibi_slopes;
  expect_near(ops::attention_varlen(rows, rows, rows, u.cu_seqlens, u.cu_seqlens, options), expected, 1e-5);
}

TEST(VarlenAttention, DropsTheSameWithoutKernels) {
  const std::vector<int> offsets{0, 5, 5, 12};
  AttentionOptions options;
  options.dropout = 0.4f;
  options.dropout_key = mx::random::key(3);
  Op f = [&](const auto& x) { return ops::attention_varlen(x[0], x[1], x[2], offsets, offsets, options); };
  const std::vector<mx::array> in{random({12, 3, 4}, 1), random({12, 3, 4}, 2), random({12, 3, 4}, 3)};
  expect_near(f(in), without_kernels(f)(in), 1e-5);
  auto ours = gradients(f, in, random({12, 3, 4}, 4)), blocks = gradients(without_kernels(f), in, random({12, 3, 4}, 4));
  for (size_t i = 0; i < 3; ++i) expect_near(ours[i], blocks[i], 1e-5);
  EXPECT_GT(relative_error(f(in), ops::attention_varlen(in[0], in[1], in[2], offsets, offsets)), 0.1);
}

TEST(FlashAttention, PackedFormsAreTheSame) {
  const std::vector<int> offsets{0, 4, 4, 9};
  auto qkv = random({9, 3, 2, 4}, 1);
  auto parts = mx::split(qkv, 3, 1);
  for (auto& p : parts) p = mx::squeeze(p, 1);
  AttentionOptions options;
  options.causal = true;
  options.scale = 0.7f;
  auto expected = ops::attention_varlen(parts[0], parts[1], parts[2], offsets, offsets, options);
  auto from_array = mx::array(offsets.data(), {4}, mx::int32);
  expect_near(ops::flash_attn_unpadded_qkvpacked_func(qkv, from_array, 5, options), expected, 0);
  auto kv = mx::slice(qkv, {0, 1, 0, 0}, {9, 3, 2, 4});
  expect_near(ops::flash_attn_unpadded_kvpacked_func(parts[0], kv, offsets, offsets, 5, 5, options), expected, 0);
  expect_near(ops::flash_attn_unpadded_func(parts[0], parts[1], parts[2], offsets, offsets, 5, 5, options), expected, 0);
  // The gradient of the packed array is the concatenation of the parts' gradients.
  auto cotangent = random({9, 2, 4}, 2);
  Op packed = [&](const auto& x) { return ops::flash_attn_unpadded_qkvpacked_func(x[0], offsets, 5, options); };
  Op apart = [&](const auto& x) { return ops::attention_varlen_fallback(x[0], x[1], x[2], offsets, offsets, options); };
  expect_near(gradients(packed, {qkv}, cotangent)[0], mx::stack(gradients(apart, parts, cotangent), 1), 1e-5);
}

TEST(VarlenAttention, EmptyBatchAndLengthOne) {
  auto none = mx::zeros({0, 2, 4});
  EXPECT_EQ(ops::attention_varlen(none, none, none, std::vector<int>{0}, std::vector<int>{0}).shape(), (mx::Shape{0, 2, 4}));
  EXPECT_EQ(ops::attention_varlen(none, none, none, std::vector<int>{0, 0}, std::vector<int>{0, 0}).shape(), (mx::Shape{0, 2, 4}));
  auto x = random({1, 2, 4}, 1);
  expect_near(ops::attention_varlen(x, x, x, std::vector<int>{0, 1}, std::vector<int>{0, 1}), x, 1e-6);
}

TEST(VarlenAttention, NamesWhatIsWrong) {
  auto x = random({4, 2, 3}, 1);
  auto attend = [&](const ops::CuSeqlens& q, const ops::CuSeqlens& k) { return ops::attention_varlen(x, x, x, q, k); };
  using Offsets = std::vector<int>;
  EXPECT_THROW(ops::CuSeqlens(Offsets{}), Error);
  EXPECT_THROW(ops::CuSeqlens(Offsets{1, 4}), Error);
  EXPECT_THROW(ops::CuSeqlens(Offsets{0, 3, 2}), Error);
  EXPECT_THROW(ops::CuSeqlens(mx::array({0.0f, 4.0f})), Error);
  EXPECT_THROW(ops::CuSeqlens(mx::zeros({2, 2}, mx::int32)), Error);
  EXPECT_THROW(attend(Offsets{0, 3}, Offsets{0, 4}), Error);
  EXPECT_THROW(attend(Offsets{0, 4}, Offsets{0, 5}), Error);
  EXPECT_THROW(attend(Offsets{0, 2, 4}, Offsets{0, 4}), Error);
  AttentionOptions masked;
  masked.key_mask = mx::ones({1, 4});
  EXPECT_THROW(ops::attention_varlen(x, x, x, Offsets{0, 4}, Offsets{0, 4}, masked), Error);
  EXPECT_THROW(ops::attention_varlen(x, x, random({4, 3}, 1), Offsets{0, 4}, Offsets{0, 4}), Error);
  EXPECT_THROW(ops::flash_attn_unpadded_qkvpacked_func(random({4, 2, 2, 3}, 1), Offsets{0, 4}, 4), Error);
  EXPECT_THROW(ops::flash_attn_unpadded_qkvpacked_func(random({4, 3, 2, 3}, 1), Offsets{0, 4}, 3), Error);  // longer than max_seqlen
}

}  // namespace
}  // namespace m2bert
