#include "m2bert/ops/attention.h"

#include "m2bert/error.h"
#include "m2bert/ops/dropout.h"
#include "m2bert/ops/padding.h"
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
  // The masked token has no say.
  auto other = mx::concatenate({mx::slice(v, {0, 0, 0, 0}, {1, 2, 2, 4}), random({1, 2, 1, 4}, 9)}, 2);
  expect_near(ops::attention(q, k, other, bias), y, 1e-6);
}

TEST(SelfAttention, KernelEqualsComposedForm) {
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
        auto reference = ops::self_attention_reference(q, k, v, heads, bias, alibi);
        expect_near(ops::self_attention(q, k, v, heads, bias, alibi), reference, 3e-6);
        auto half = [](const mx::array& a) { return mx::astype(a, mx::bfloat16); };
        auto coarse = ops::self_attention(half(q), half(k), half(v), heads, bias, alibi);
        EXPECT_EQ(coarse.dtype(), mx::bfloat16);
        expect_near(coarse, reference, 3e-2);
      }
    }
  }
}

TEST(SelfAttention, GradientsOfBothFormsAgree) {
  auto bias = ops::mask_bias(mx::array({1, 1, 1, 0, 1}, {1, 5}, mx::int32), -9984.0f);
  auto f = [&](const auto& in) { return ops::self_attention(in[0], in[1], in[2], 2, bias, true); };
  auto g = [&](const auto& in) { return ops::self_attention_reference(in[0], in[1], in[2], 2, bias, true); };
  std::vector<mx::array> in{random({1, 5, 8}, 1), random({1, 5, 8}, 2), random({1, 5, 8}, 3)};
  auto ours = gradients(f, in, random({1, 5, 8}, 4)), composed = gradients(g, in, random({1, 5, 8}, 4));
  for (size_t i = 0; i < in.size(); ++i) expect_near(ours[i], composed[i], 1e-6);
}

TEST(SelfAttention, NamesWrongShapes) {
  auto x = random({1, 4, 6}, 1), bias = mx::zeros({1, 4});
  EXPECT_THROW(ops::self_attention(x, x, x, 4, bias, false), Error);
  EXPECT_THROW(ops::self_attention(x, random({1, 5, 6}, 1), x, 2, bias, false), Error);
  EXPECT_THROW(ops::self_attention(x, x, x, 2, mx::zeros({1, 5}), false), Error);
}

TEST(Padding, RowsGoOutAndComeBack) {
  auto mask = mx::array({1, 0, 1, 0, 0, 0, 1, 1, 1}, {3, 3}, mx::int32);  // a hole, an empty text, a full one
  auto u = ops::unpadding(mask);
  EXPECT_EQ(u.cu_seqlens, (std::vector<int>{0, 2, 2, 5}));
  EXPECT_EQ(u.max_seqlen, 3);
  auto x = random({3, 3, 2}, 1);
  auto rows = ops::unpad_input(x, u);
  EXPECT_EQ(rows.shape(), (mx::Shape{5, 2}));
  expect_near(ops::pad_input(rows, u, 3, 3), x * mx::astype(mx::expand_dims(mask, -1), mx::float32), 0);
}

TEST(Padding, GradientsOfRepeatedIndicesAddUp) {
  auto x = random({3, 2}, 1);
  auto indices = mx::array({1, 1, 2}, {3}, mx::int32);
  auto g = gradients([&](const auto& in) { return ops::index_first_axis(in[0], indices); }, {x}, mx::ones({3, 2}));
  expect_near(g[0], mx::array({0.0f, 0.0f, 2.0f, 2.0f, 1.0f, 1.0f}, {3, 2}), 0);
  auto put = gradients([&](const auto& in) { return ops::index_put_first_axis(in[0], mx::array({2, 0}, {2}, mx::int32), 4); },
                       {random({2, 2}, 3)}, mx::reshape(mx::arange(0.0, 8.0, 1.0), {4, 2}));
  expect_near(put[0], mx::array({4.0f, 5.0f, 0.0f, 1.0f}, {2, 2}), 0);
}

TEST(Padding, NoRealToken) {
  auto u = ops::unpadding(mx::zeros({2, 3}, mx::int32));
  auto rows = ops::unpad_input(random({2, 3, 4}, 1), u);
  EXPECT_EQ(rows.shape(), (mx::Shape{0, 4}));
  EXPECT_EQ(mx::max(mx::abs(ops::pad_input(rows, u, 2, 3))).item<float>(), 0);
}

TEST(Dropout, KeepsTheMeanAndFollowsItsKey) {
  auto x = mx::ones({200, 200});
  auto y = ops::dropout(x, 0.25f, mx::random::key(1));
  EXPECT_NEAR(mx::mean(y).item<float>(), 1, 0.02);
  EXPECT_NEAR(mx::mean(mx::astype(mx::equal(y, mx::array(0.0f)), mx::float32)).item<float>(), 0.25, 0.02);
  expect_near(ops::dropout(x, 0.25f, mx::random::key(1)), y, 0);
  EXPECT_THROW(ops::dropout(x, 1.0f, mx::random::key(1)), Error);
}

}  // namespace
}  // namespace m2bert
