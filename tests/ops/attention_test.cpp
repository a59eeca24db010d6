#include "m2bert/ops/attention.h"

#include "golden.h"
#include "m2bert/error.h"
#include "m2bert/ops/dense.h"
#include "m2bert/ops/linear.h"
#include "near.h"

namespace m2bert {
namespace {

using namespace testing_ops;

TEST(Alibi, SlopesOfAPowerOfTwoAndOfOtherCounts) {
  const auto eight = ops::alibi_slopes(8);
  for (int i = 0; i < 8; ++i) EXPECT_FLOAT_EQ(eight[size_t(i)], std::pow(2.0f, float(-(i + 1))));
  const auto twelve = ops::alibi_slopes(12);  // the first 8, then every other one of 16
  for (int i = 0; i < 8; ++i) EXPECT_FLOAT_EQ(twelve[size_t(i)], eight[size_t(i)]);
  for (int i = 0; i < 4; ++i) EXPECT_FLOAT_EQ(twelve[size_t(8 + i)], std::pow(2.0f, -0.5f * float(2 * i + 1)));
  EXPECT_THROW(ops::alibi_slopes(0), Error);
}

TEST(Attention, WeighsValuesBySoftmax) {
  auto q = random({1, 2, 3, 4}, 1), k = random({1, 2, 3, 4}, 2), v = random({1, 2, 3, 4}, 3);
  auto bias = ops::alibi_bias(2, 3) + mx::reshape(ops::mask_bias(mx::array({1, 1, 0}, {1, 3}, mx::int32), -1e9f), {1, 1, 1, 3});
  auto y = ops::attention(q, k, v, bias);
  auto scores = mx::matmul(q, mx::transpose(k, {0, 1, 3, 2})) / mx::array(2.0f) + bias;
  expect_near(y, mx::matmul(mx::softmax(scores, -1), v), 1e-6);
  // The masked token has no effect.
  auto other = mx::concatenate({mx::slice(v, {0, 0, 0, 0}, {1, 2, 2, 4}), random({1, 2, 1, 4}, 9)}, 2);
  expect_near(ops::attention(q, k, other, bias), y, 1e-6);
}

TEST(SelfAttention, KernelEqualsFallback) {
  struct Shape {
    int B, S, heads, d;
  };
  for (auto [B, S, heads, d] : {Shape{1, 1, 1, 1}, Shape{2, 5, 3, 4}, Shape{1, 16, 2, 32}, Shape{3, 37, 4, 20}, Shape{1, 130, 12, 64}}) {
    auto input = [&, B = B, S = S, H = heads * d](int seed) { return random({B, S, H}, seed); };
    auto q = input(1), k = input(2), v = input(3);
    auto mask = mx::astype(mx::greater(random({B, S}, 4), mx::array(-0.5f)), mx::int32);
    for (bool alibi : {false, true}) {
      for (float off : {-9984.0f, std::numeric_limits<float>::lowest()}) {
        auto bias = ops::mask_bias(mask, off);
        auto fallback = ops::self_attention_fallback(q, k, v, heads, bias, alibi);
        expect_near(ops::self_attention(q, k, v, heads, bias, alibi), fallback, 3e-6);
        auto half = [](const mx::array& a) { return mx::astype(a, mx::bfloat16); };
        auto coarse = ops::self_attention(half(q), half(k), half(v), heads, bias, alibi);
        EXPECT_EQ(coarse.dtype(), mx::bfloat16);
        expect_near(coarse, fallback, 3e-2);
      }
    }
  }
}

TEST(SelfAttention, GradientsEqualFallback) {
  auto bias = ops::mask_bias(mx::array({1, 1, 1, 0, 1}, {1, 5}, mx::int32), -9984.0f);
  auto f = [&](const auto& in) { return ops::self_attention(in[0], in[1], in[2], 2, bias, true); };
  auto g = [&](const auto& in) { return ops::self_attention_fallback(in[0], in[1], in[2], 2, bias, true); };
  std::vector<mx::array> in{random({1, 5, 8}, 1), random({1, 5, 8}, 2), random({1, 5, 8}, 3)};
  auto ours = gradients(f, in, random({1, 5, 8}, 4)), fallback = gradients(g, in, random({1, 5, 8}, 4));
  for (size_t i = 0; i < in.size(); ++i) expect_near(ours[i], fallback[i], 1e-6);
}

TEST(SelfAttention, NamesWrongShapes) {
  auto x = random({1, 4, 6}, 1), bias = mx::zeros({1, 4});
  EXPECT_THROW(ops::self_attention(x, x, x, 4, bias, false), Error);
  EXPECT_THROW(ops::self_attention(x, random({1, 5, 6}, 1), x, 2, bias, false), Error);
  EXPECT_THROW(ops::self_attention(x, x, x, 2, mx::zeros({1, 5}), false), Error);
}

TEST(Alibi, EqualsUpstream) {
  for (const char* name : {"alibi_h4", "alibi_h6", "alibi_h12"}) {
    Golden golden(name);
    golden.expect_near(ops::alibi_bias(golden.attr("heads"), golden.attr("size")), "out.alibi");
  }
}

TEST(MaskBias, EqualsUpstream) {
  Golden golden("mask_bias");
  auto mask = golden.real("in.mask");
  auto shaped = [](const mx::array& bias) { return mx::reshape(bias, {bias.shape(0), 1, 1, bias.shape(1)}); };
  golden.expect_near(shaped(ops::mask_bias(mask, -9984.0f)), "out.bias");
  golden.expect_near(shaped(ops::mask_bias(mx::astype(mask, mx::bool_), -9984.0f)), "out.bias");
  EXPECT_THROW(ops::mask_bias(mx::zeros({4}), -1.0f), Error);
}

// Upstream's AttentionPooler, composed of the library's operations: softmax over the queries, the mask multiplied onto the scores, two
// rounds with one Wqkv.
TEST(AttentionPooler, EqualsUpstream) {
  std::vector<std::string> names{"x", "mask", "Wqkv__weight", "Wqkv__bias"};
  for (const char* dense : {"dense1", "dense2", "dense3", "dense4", "dense"}) {
    for (const char* what : {"__weight", "__bias"}) names.push_back(std::string(dense) + what);
  }
  expect_golden("attention_pooler", names, [](const auto& in) {
    auto mask = mx::expand_dims(mx::astype(in[1], mx::float32), -1);
    auto attend = [&](const mx::array& x) {
      auto qkv = mx::split(ops::linear(x, in[2], in[3]), 3, -1);
      auto scores = mx::matmul(qkv[0], mx::swapaxes(qkv[1], 1, 2)) * mx::array(1 / std::sqrt(float(x.shape(2)))) * mask;
      return mx::matmul(mx::softmax(scores, 1, true), qkv[2]);
    };
    auto wide = [&](const mx::array& x, size_t at) {
      return ops::fused_dense(ops::fused_dense_gelu(x, in[at], in[at + 1]), in[at + 2], in[at + 3]);
    };
    auto mixed = wide(attend(wide(attend(in[0]), 4)), 8);
    auto first = mx::squeeze(mx::slice(mixed, {0, 0, 0}, {mixed.shape(0), 1, mixed.shape(2)}), 1);
    return mx::tanh(ops::fused_dense(first, in[12], in[13]));
  });
}

}  // namespace
}  // namespace m2bert
