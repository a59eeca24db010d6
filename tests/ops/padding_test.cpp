#include "m2bert/ops/padding.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "golden.h"
#include "m2bert/error.h"
#include "plain.h"

namespace m2bert {
namespace {

using namespace testing_ops;

mx::array int_array(const std::vector<int>& values, mx::Dtype dtype = mx::int32) {
  return mx::astype(mx::array(values.data(), {int(values.size())}, mx::int32), dtype);
}

TEST(IndexFirstAxis, EqualsUpstream) {
  for (const char* name : {"index_first_axis", "ops_index_first_axis_2d"}) {
    expect_golden(name, {"x", "indices"}, [](const auto& in) { return ops::index_first_axis(in[0], in[1]); });
  }
}

TEST(IndexPutFirstAxis, EqualsUpstream) {
  const int n = Golden("index_put_first_axis").attr("first_axis_dim");
  expect_golden("index_put_first_axis", {"v", "indices"}, [n](const auto& in) { return ops::index_put_first_axis(in[0], in[1], n); });
}

TEST(UnpadInput, EqualsUpstream) {
  Golden golden("unpad_input");
  auto mask = golden.real("in.mask");
  auto [rows, u] = ops::unpad_input(golden.real("in.x"), mask);
  golden.expect_near(rows, "out.h");
  golden.expect_near(u.indices, "out.indices");
  golden.expect_near(int_array(u.cu_seqlens), "out.cu_seqlens");
  EXPECT_EQ(u.max_seqlen, int(mx::astype(golden.real("out.max_seqlen"), mx::int32).item<int>()));
  golden.expect_near(ops::unpad_input_only(golden.real("in.x"), mask), "out.only");
  expect_golden("unpad_input", {"x"}, [&](const auto& in) { return ops::unpad_input(in[0], mask).first; }, "h");
}

TEST(PadInput, EqualsUpstream) {
  auto indices = Golden("unpad_input").real("out.indices");  // for the same batch
  auto shape = Golden("pad_input").real("out.y").shape();
  expect_golden("pad_input", {"h"}, [&](const auto& in) { return ops::pad_input(in[0], indices, shape[0], shape[1]); });
}

TEST(Padding, AlignedRowsBeginAtMultiples) {
  // 3 tokens, none, 9, 2 behind padding.
  std::vector<uint8_t> mask(4 * 10);
  std::fill_n(mask.begin(), 3, 1), std::fill_n(mask.begin() + 20, 9, 1), std::fill_n(mask.begin() + 34, 2, 1);
  const auto u = ops::unpadding(mask, 4, 10, 4);
  ASSERT_TRUE(u.aligned.has_value());
  EXPECT_EQ(u.cu_seqlens, (std::vector<int>{0, 3, 3, 12, 14}));
  EXPECT_EQ(u.aligned->sequences.values(), (std::vector<int>{0, 12, 16, 20, 20}));
  EXPECT_EQ(u.aligned->first, (std::vector<int>{12, 20, 0, 16}));
  EXPECT_EQ(u.aligned->sequences.longest(), 9);
  EXPECT_TRUE(u.aligned->sequences.has_unused_rows());
  expect_near(u.aligned->indices, int_array({20, 21, 22, 23, 24, 25, 26, 27, 28, 28, 28, 28, 0, 1, 2, 2, 34, 35, 35, 35}), 0);
  expect_near(u.aligned->places, int_array({20, 21, 22, 23, 24, 25, 26, 27, 28, 40, 40, 40, 0, 1, 2, 40, 34, 35, 40, 40}), 0);
  expect_near(u.aligned->sequences.table(), int_array({0, 9, 12, 3, 16, 2, 20, 0, 20}), 0);
  const auto x = random({4, 10, 2}, 1), rows = ops::unpad_input(x, u);
  EXPECT_EQ(rows.shape(), (mx::Shape{20, 2}));
  const auto on = mx::reshape(mx::astype(mx::array(mask.data(), {4, 10}, mx::uint8), mx::float32), {4, 10, 1});
  expect_near(ops::pad_input(rows, u, 4, 10), x * on, 0);
  // The gradient of what goes out and comes back is that of the tokens.
  auto there_and_back = [&](const mx::array& v) { return mx::sum(ops::pad_input(ops::unpad_input(v, u), u, 4, 10) * x); };
  expect_near(mx::grad(there_and_back)(x), x * on, 0);
  mask[1] = 0;
  EXPECT_FALSE(ops::unpadding(mask, 4, 10, 4).aligned.has_value());
  EXPECT_THROW(ops::CuSeqlens({0, 4, 8}, {5, 4}), Error);
  EXPECT_THROW(ops::CuSeqlens({0, 4, 8}, {4}), Error);
}

TEST(Padding, RowsGoOutAndComeBack) {
  auto mask = mx::array({1, 0, 1, 0, 0, 0, 1, 1, 1}, {3, 3}, mx::int32);  // a hole, an empty sequence, a full one
  auto x = random({3, 3, 2}, 1);
  for (auto dtype : {mx::int32, mx::int64, mx::bool_, mx::float32, mx::bfloat16}) {
    auto u = ops::unpadding(mx::astype(mask, dtype));
    EXPECT_EQ(u.cu_seqlens, (std::vector<int>{0, 2, 2, 5}));
    EXPECT_EQ(u.max_seqlen, 3);
    auto rows = ops::unpad_input(x, u);
    EXPECT_EQ(rows.shape(), (mx::Shape{5, 2}));
    expect_near(ops::pad_input(rows, u, 3, 3), x * mx::astype(mx::expand_dims(mask, -1), mx::float32), 0);
  }
}

RC_GTEST_PROP(Padding, AnyMaskGoesOutAndComesBack, ()) {
  const int B = *rc::gen::inRange(0, 5), S = *rc::gen::inRange(1, 9);
  const auto on = *rc::gen::container<std::vector<int>>(size_t(B * S), rc::gen::inRange(0, 2));
  auto mask = mx::reshape(int_array(on), {B, S});
  auto keep = mx::astype(mx::reshape(mask, {B, S, 1, 1}), mx::float32);
  auto x = random({B, S, 2, 3}, 1);
  auto u = ops::unpadding(mask);
  Op there = [&](const auto& in) { return ops::unpad_input(in[0], u); };
  Op and_back = [&](const auto& in) { return ops::pad_input(there(in), u, B, S); };
  RC_ASSERT(there({x}).shape(0) == u.cu_seqlens.back());
  RC_ASSERT(int(u.cu_seqlens.size()) == B + 1);
  RC_ASSERT(mx::array_equal(and_back({x}), x * keep).item<bool>());
  auto cotangent = random({B, S, 2, 3}, 2);
  RC_ASSERT(mx::array_equal(gradients(and_back, {x}, cotangent)[0], cotangent * keep).item<bool>());
}

TEST(IndexFirstAxis, EqualsItsDefinition) {
  const std::vector<int> at{3, 0, 3, 1};
  auto plain = [&](const std::vector<Plain>& in) {
    Plain y(mx::Shape{4, in[0].dim(1)});
    for (int i = 0; i < 4; ++i) {
      for (int c = 0; c < in[0].dim(1); ++c) y(i, c) = in[0](at[size_t(i)], c);
    }
    return y;
  };
  for (auto dtype : {mx::int32, mx::int64, mx::uint32}) {
    auto indices = int_array(at, dtype);
    Op f = [&](const auto& in) { return ops::index_first_axis(in[0], indices); };
    expect_as_plain(f, plain, {random({5, 3}, 1)}, 1e-6);  // repeated indices add their gradients
    expect_value_as_plain(f, plain, {random({5, 3}, 1)}, mx::bfloat16, 0);
  }
}

TEST(IndexPutFirstAxis, EqualsItsDefinition) {
  const std::vector<int> at{3, 0, 2};
  auto plain = [&](const std::vector<Plain>& in) {
    Plain y(mx::Shape{5, in[0].dim(1)});
    for (int i = 0; i < 3; ++i) {
      for (int c = 0; c < in[0].dim(1); ++c) y(at[size_t(i)], c) = in[0](i, c);
    }
    return y;
  };
  Op f = [&](const auto& in) { return ops::index_put_first_axis(in[0], int_array(at), 5); };
  expect_as_plain(f, plain, {random({3, 2}, 1)}, 1e-6);
  expect_value_as_plain(f, plain, {random({3, 2}, 1)}, mx::float16, 0);
}

// Of any width and layout, NaN and -0 as well.
TEST(IndexFirstAxis, RowsComeBackBitForBit) {
  const auto order = int_array({4, 0, 3, 1, 2});
  for (const int width : {1, 2, 3, 4, 8, 12}) {
    for (const auto dtype : {mx::bfloat16, mx::float32}) {
      const auto bits = dtype == mx::float32 ? mx::uint32 : mx::uint16;
      for (const bool transposed : {false, true}) {
        const auto values = mx::random::bits(transposed ? mx::Shape{width, 5} : mx::Shape{5, width}, size_of(bits), mx::random::key(1));
        const auto x = transposed ? mx::transpose(mx::view(values, dtype)) : mx::view(values, dtype);
        const auto back = ops::index_put_first_axis(ops::index_first_axis(x, order), order, 5);
        EXPECT_EQ(back.dtype(), dtype);
        EXPECT_TRUE(mx::array_equal(mx::view(mx::contiguous(back), bits), transposed ? mx::transpose(values) : values).item<bool>())
            << width;
      }
    }
  }
}

TEST(IndexFirstAxis, GradientsOfRepeatedIndicesAddUp) {
  auto indices = int_array({1, 1, 2});
  auto g = gradients([&](const auto& in) { return ops::index_first_axis(in[0], indices); }, {random({3, 2}, 1)}, mx::ones({3, 2}));
  expect_near(g[0], mx::array({0.0f, 0.0f, 2.0f, 2.0f, 1.0f, 1.0f}, {3, 2}), 0);
}

TEST(Padding, NoTokensAndNoSequences) {
  auto u = ops::unpadding(mx::zeros({2, 3}, mx::int32));
  auto rows = ops::unpad_input(random({2, 3, 4}, 1), u);
  EXPECT_EQ(rows.shape(), (mx::Shape{0, 4}));
  EXPECT_EQ(mx::max(mx::abs(ops::pad_input(rows, u, 2, 3))).item<float>(), 0);
  auto none = ops::unpadding(mx::zeros({0, 3}, mx::int32));
  EXPECT_EQ(ops::unpad_input(mx::zeros({0, 3, 4}), none).shape(), (mx::Shape{0, 4}));
  EXPECT_EQ(ops::pad_input(mx::zeros({0, 4}), none, 0, 3).shape(), (mx::Shape{0, 3, 4}));
}

TEST(Padding, IntegersGoThroughAndHaveNoGradient) {
  auto x = mx::array({10, 11, 12, 13, 14, 15}, {2, 3}, mx::int32), mask = mx::array({1, 0, 1, 0, 1, 1}, {2, 3}, mx::int32);
  auto [rows, u] = ops::unpad_input(x, mask);
  EXPECT_TRUE(mx::array_equal(rows, mx::array({10, 12, 14, 15}, {4}, mx::int32)).item<bool>());
  EXPECT_TRUE(mx::array_equal(ops::pad_input(rows, u, 2, 3), x * mask).item<bool>());
  auto gradient = [&, &u = u](auto f, const mx::array& at) -> std::string {
    try {
      auto loss = [&](const mx::array& in) { return mx::sum(mx::astype(f(in), mx::float32)); };
      mx::eval(mx::grad(loss)(at));
    } catch (const std::exception& e) {
      return e.what();
    }
    return "nothing was thrown";
  };
  auto put = gradient([&, &u = u](const mx::array& in) { return ops::pad_input(in, u, 2, 3); }, rows);
  auto take = gradient([&, &u = u](const mx::array& in) { return ops::unpad_input(in, u); }, x);
  EXPECT_EQ(put, "[index_put_first_axis] has no gradient for an input of dtype int32");
  EXPECT_EQ(take, "[index_first_axis] has no gradient for an input of dtype int32");
}

TEST(Padding, NamesWhatIsWrong) {
  auto x = random({2, 3, 4}, 1), mask = mx::ones({2, 3}, mx::int32), three = int_array({0, 1, 2});
  auto u = ops::unpadding(mask);
  EXPECT_THROW(ops::unpadding(mx::ones({6})), Error);
  EXPECT_THROW(ops::unpad_input(x, mx::ones({3, 2})), Error);
  EXPECT_THROW(ops::unpad_input(random({3, 3, 4}, 1), u), Error);
  EXPECT_THROW(ops::unpad_input_only(random({6}, 1), mask), Error);
  EXPECT_THROW(ops::index_first_axis(x, mx::zeros({2, 2}, mx::int32)), Error);
  EXPECT_THROW(ops::index_first_axis(x, mx::zeros({2})), Error);  // float indices
  EXPECT_THROW(ops::index_first_axis(mx::array(1.0f), three), Error);
  EXPECT_THROW(ops::index_first_axis(mx::zeros({0, 4}), three), Error);
  EXPECT_THROW(ops::index_put_first_axis(x, three, 4), Error);  // two rows, three indices
  EXPECT_THROW(ops::index_put_first_axis(random({3, 2}, 1), three, 0), Error);
  EXPECT_THROW(ops::index_put_first_axis(random({3, 2}, 1), three, -1), Error);
  EXPECT_THROW(ops::pad_input(random({6, 4}, 1), u, 3, 3), Error);
  EXPECT_THROW(ops::pad_input(random({6, 4}, 1), u, 2, 2), Error);
  EXPECT_THROW(mx::grad([&](const mx::array& m) { return mx::sum(ops::unpad_input_only(x, m)); })(mx::ones({2, 3})), Error);
}

}  // namespace
}  // namespace m2bert
