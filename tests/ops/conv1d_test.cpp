#include "m2bert/ops/conv1d.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "golden.h"
#include "m2bert/error.h"
#include "plain.h"

namespace m2bert {
namespace {

using namespace testing_ops;

using Conv = mx::array (*)(const mx::array&, const mx::array&, const std::optional<mx::array>&, const ops::Conv1dOptions&,
                           mx::StreamOrDevice);

struct Form {
  const char* name;
  Conv f;
};
const Form kForms[] = {{"conv1d", ops::conv1d}, {"conv1d_fallback", ops::conv1d_fallback}, {"conv1d_fft", ops::conv1d_fft}};
const Form kDepthwiseForms[] = {{"depthwise_conv1d", ops::depthwise_conv1d}, {"depthwise_conv1d_fallback", ops::depthwise_conv1d_fallback}};

struct Setting {
  int B, L, C_in, C_out, K;
  ops::Conv1dOptions options;

  std::vector<Form> forms() const {
    std::vector<Form> all(std::begin(kForms), std::end(kForms));
    if (options.groups == C_in) all.insert(all.end(), std::begin(kDepthwiseForms), std::end(kDepthwiseForms));
    return all;
  }
  mx::Shape x() const { return options.channels == ops::ChannelAxis::first ? mx::Shape{B, C_in, L} : mx::Shape{B, L, C_in}; }
  mx::Shape weight() const { return {C_out, C_in / options.groups, K}; }
  std::vector<mx::array> inputs() const { return {random(x(), 1), random(weight(), 2), random({C_out}, 3)}; }
};

std::ostream& operator<<(std::ostream& out, const Setting& s) {
  const auto& o = s.options;
  return out << "B" << s.B << " L" << s.L << " channels " << s.C_in << " -> " << s.C_out << " K" << s.K << " stride " << o.stride
             << " padding " << o.padding << " dilation " << o.dilation << " groups " << o.groups
             << (o.channels == ops::ChannelAxis::first ? " NCL" : " NLC");
}

Op op(Conv f, const ops::Conv1dOptions& o) {
  return [=](const std::vector<mx::array>& in) { return f(in[0], in[1], in.size() > 2 ? std::optional(in[2]) : std::nullopt, o, {}); };
}

// The definition as sums, x [B, L, C] or [B, C, L].
PlainOp plain_conv(const ops::Conv1dOptions& o) {
  return [o](const std::vector<Plain>& in) {
    const auto &x = in[0], &w = in[1];
    const bool first = o.channels == ops::ChannelAxis::first;
    const int B = x.dim(0), L = x.dim(first ? 2 : 1), C_out = w.dim(0), I = w.dim(1), K = w.dim(2);
    const int L_out = (L + 2 * o.padding - o.dilation * (K - 1) - 1) / o.stride + 1;
    Plain y(first ? mx::Shape{B, C_out, L_out} : mx::Shape{B, L_out, C_out});
    for (int b = 0; b < B; ++b) {
      for (int t = 0; t < L_out; ++t) {
        for (int out = 0; out < C_out; ++out) {
          double sum = in.size() > 2 ? in[2](out) : 0;
          for (int j = 0; j < K; ++j) {
            const int s = t * o.stride + j * o.dilation - o.padding;
            if (s < 0 || s >= L) continue;
            for (int c = 0; c < I; ++c) {
              const int channel = out / (C_out / o.groups) * I + c;
              sum += w(out, c, j) * (first ? x(b, channel, s) : x(b, s, channel));
            }
          }
          (first ? y(b, out, t) : y(b, t, out)) = sum;
        }
      }
    }
    return y;
  };
}

Setting arbitrary_setting() {
  Setting s{};
  s.options.groups = *rc::gen::inRange(1, 4);
  s.B = *rc::gen::inRange(1, 3);
  s.L = *rc::gen::inRange(1, 12);
  s.C_in = s.options.groups * *rc::gen::inRange(1, 4);
  s.C_out = s.options.groups * *rc::gen::inRange(1, 4);
  s.options.stride = *rc::gen::inRange(1, 4);
  s.options.padding = *rc::gen::inRange(0, 5);
  s.options.dilation = *rc::gen::inRange(1, 4);
  s.K = *rc::gen::inRange(1, 2 + (s.L + 2 * s.options.padding - 1) / s.options.dilation);
  s.options.channels = *rc::gen::element(ops::ChannelAxis::first, ops::ChannelAxis::last);
  return s;
}

// float32 against sums in double, values and all gradients: 1e-5 of the largest value (sums of few terms may cancel).
RC_GTEST_PROP(Conv1dProperties, FollowsItsDefinitionWithGradients, ()) {
  const auto s = arbitrary_setting();
  const auto forms = s.forms();
  const auto form = forms[*rc::gen::inRange(size_t(0), forms.size())];
  SCOPED_TRACE(::testing::Message() << form.name << ": " << s);
  auto in = s.inputs();
  if (*rc::gen::arbitrary<bool>()) in.pop_back();
  expect_as_plain(op(form.f, s.options), plain_conv(s.options), in, 1e-5);
  RC_ASSERT(!::testing::Test::HasFailure());
}

// bfloat16 has 8 bits and float16 11: half an ulp of the result, as the arithmetic is float32.
RC_GTEST_PROP(Conv1dProperties, RoundsOnceInHalfPrecision, ()) {
  const auto s = arbitrary_setting();
  SCOPED_TRACE(::testing::Message() << s);
  for (const auto& form : s.forms()) {
    expect_value_as_plain(op(form.f, s.options), plain_conv(s.options), s.inputs(), mx::bfloat16, 4e-3);
    expect_value_as_plain(op(form.f, s.options), plain_conv(s.options), s.inputs(), mx::float16, 5e-4);
  }
  RC_ASSERT(!::testing::Test::HasFailure());
}

// ---- torch, tests/parity/generate_conv1d.py

mx::array counted(const mx::Shape& shape, int which, int case_number) {
  Plain values(shape);
  for (size_t i = 0; i < values.values.size(); ++i) {
    const int64_t n = int64_t(i);
    values.values[i] = double((n * n * 7 + n * 31 + which * 57 + case_number * 13) % 251 - 125) / 128;
  }
  return values.array();
}

// The next array of a flat concatenation.
class Flat {
 public:
  explicit Flat(mx::array all) : all_(std::move(all)) {}
  mx::array next(const mx::Shape& shape) {
    const int size = int(mx::zeros(shape).size()), from = at_;
    at_ += size;
    return mx::reshape(mx::slice(all_, {from}, {at_}), shape);
  }
  bool at_end() const { return at_ == all_.shape(0); }

 private:
  mx::array all_;
  int at_ = 0;
};

TEST(Conv1dGolden, EqualsTorchAtRandomSettingsWithGradients) {
  auto file = mx::load_safetensors(M2BERT_SOURCE_DIR "/tests/golden/ops/conv1d_random.safetensors").first;
  auto settings = file.at("settings");
  settings.eval();
  ASSERT_GE(settings.shape(0), 150);
  Flat y(file.at("y")), x(file.at("grad.x")), weight(file.at("grad.weight")), bias(file.at("grad.bias"));
  for (int i = 0; i < settings.shape(0); ++i) {
    const int* v = settings.data<int>() + size_t(i) * 9;
    Setting s{v[0], v[1], v[2], v[3], v[4], {v[5], v[6], v[7], v[8], ops::ChannelAxis::first}};
    const int L_out = (s.L + 2 * s.options.padding - s.options.dilation * (s.K - 1) - 1) / s.options.stride + 1;
    const auto expected = y.next({s.B, s.C_out, L_out});
    const std::vector<mx::array> gradients_expected{x.next(s.x()), weight.next(s.weight()), bias.next({s.C_out})};
    const std::vector<mx::array> in{counted(s.x(), 1, i), counted(s.weight(), 2, i), counted({s.C_out}, 3, i)};
    const auto cotangent = counted(expected.shape(), 4, i);
    for (auto channels : {ops::ChannelAxis::first, ops::ChannelAxis::last}) {
      s.options.channels = channels;
      for (const auto& form : s.forms()) {
        SCOPED_TRACE(::testing::Message() << "case " << i << ", " << form.name << ": " << s);
        auto f = [&](const std::vector<mx::array>& arrays) {
          if (channels == ops::ChannelAxis::first) return op(form.f, s.options)(arrays);
          auto swapped = arrays;
          swapped[0] = mx::swapaxes(arrays[0], 1, 2);
          return mx::swapaxes(op(form.f, s.options)(swapped), 1, 2);
        };
        expect_near(f(in), expected, 3e-6);
        const auto ours = gradients(f, in, cotangent);
        for (size_t k = 0; k < ours.size(); ++k) expect_near(ours[k], gradients_expected[k], 3e-6);
        if (HasFailure()) return;
      }
    }
  }
  EXPECT_TRUE(y.at_end() && x.at_end() && weight.at_end() && bias.at_end());
}

// ---- Edges

TEST(Conv1d, GradientsOfSomeInputs) {
  const Setting s{2, 9, 4, 6, 3, {2, 1, 2, 2}};
  for (const auto& form : s.forms()) {
    auto f = op(form.f, s.options);
    auto in = s.inputs();
    auto cotangent = random(f(in).shape(), 4);
    auto all = gradients(f, in, cotangent);
    for (int i = 0; i < 3; ++i) {
      auto loss = [&](const std::vector<mx::array>& x) { return mx::sum(f(x) * cotangent); };
      expect_near(mx::grad(loss, std::vector<int>{i})(in)[0], all[size_t(i)], 1e-6);
    }
  }
}

TEST(Conv1d, LongFilters) {
  const Setting s{2, 700, 3, 3, 601, {1, 300, 1, 3}};
  auto in = s.inputs();
  const auto expected = plain_conv(s.options)({Plain(in[0]), Plain(in[1]), Plain(in[2])}).array();
  for (const auto& form : s.forms()) expect_near(op(form.f, s.options)(in), expected, 3e-6);
}

TEST(Conv1d, SupportsAnEmptyBatch) {
  for (Setting s : {Setting{0, 5, 4, 6, 3, {1, 1, 1, 2}}, Setting{0, 5, 4, 4, 3, {1, 1, 1, 4}}}) {
    for (const auto& form : s.forms()) {
      auto in = s.inputs();
      EXPECT_EQ(op(form.f, s.options)(in).shape(), mx::Shape({0, 5, s.C_out}));
      auto g = gradients(op(form.f, s.options), in, mx::zeros({0, 5, s.C_out}));
      for (size_t i = 0; i < in.size(); ++i) expect_near(g[i], mx::zeros_like(in[i]), 0);
    }
  }
}

TEST(Conv1d, NamesWrongShapesOptionsAndDtypes) {
  auto x = random({1, 8, 4}, 1), w = random({6, 4, 3}, 2);
  for (const auto& form : kForms) {
    auto with = [&](const mx::array& a, const mx::array& b, const std::optional<mx::array>& c, const ops::Conv1dOptions& o) {
      return form.f(a, b, c, o, {});
    };
    EXPECT_THROW(with(random({8, 4}, 1), w, {}, {}), Error);
    EXPECT_THROW(with(x, random({6, 4}, 1), {}, {}), Error);
    EXPECT_THROW(with(x, random({6, 3, 3}, 1), {}, {}), Error);
    EXPECT_THROW(with(x, mx::zeros({6, 4, 0}), {}, {}), Error);
    EXPECT_THROW(with(x, w, random({5}, 1), {}), Error);
    EXPECT_THROW(with(x, w, {}, {.stride = 0}), Error);
    EXPECT_THROW(with(x, w, {}, {.padding = -1}), Error);
    EXPECT_THROW(with(x, w, {}, {.padding = 2'000'000'000}), Error);
    EXPECT_THROW(with(x, w, {}, {.dilation = 0}), Error);
    EXPECT_THROW(with(x, w, {}, {.dilation = 4}), Error);
    EXPECT_THROW(with(x, w, {}, {.groups = 0}), Error);
    EXPECT_THROW(with(x, w, {}, {.groups = 3}), Error);
    EXPECT_THROW(with(x, w, {}, {.channels = ops::ChannelAxis::first}), Error);
    EXPECT_THROW(with(mx::astype(x, mx::int32), w, {}, {}), Error);
    EXPECT_THROW(with(x, mx::astype(w, mx::complex64), {}, {}), Error);
  }
  EXPECT_THROW(ops::depthwise_conv1d(x, w), Error);
  EXPECT_THROW(ops::depthwise_conv1d(random({4, 8}, 1), random({4, 1, 3}, 1)), Error);
  try {
    ops::conv1d(x, random({6, 3, 3}, 1));
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "[conv1d] weight has shape (6,3,3), wants [C_out, C_in / groups, K] for 4 channels in 1 groups");
  }
}

// ---- The mixer's

TEST(DepthwiseConv1dCausal, GoldenOfThreeTaps) {
  auto swap = [](const mx::array& x, const std::string& name) { return name == "weight" || name == "bias" ? x : mx::swapaxes(x, 1, 2); };
  auto causal = [](const std::vector<mx::array>& in) { return ops::depthwise_conv1d_causal(in[0], in[1], in[2]); };
  expect_golden("depthwise_conv3", {"x", "weight", "bias"}, causal, "y", {swap, swap});
  for (const auto& form : kDepthwiseForms) {
    auto cut = [&](const std::vector<mx::array>& in) {  // torch: padding 2, truncated to L
      auto y = form.f(in[0], in[1], in[2], {.padding = 2, .channels = ops::ChannelAxis::first}, {});
      return mx::slice(y, {0, 0, 0}, in[0].shape());
    };
    expect_golden("depthwise_conv3", {"x", "weight", "bias"}, cut);
  }
}

TEST(DepthwiseConv1dCausal, IsCausalWithTorchsWeightOrder) {
  auto u = mx::array({1.0f, 10.0f, 100.0f, 1000.0f}, {1, 4, 1}), w = mx::array({2.0f, 3.0f, 5.0f}, {1, 1, 3}), b = mx::array({0.5f});
  auto y = ops::depthwise_conv1d_causal(u, w, b);
  expect_near(y, mx::array({5.5f, 53.5f, 532.5f, 5320.5f}, {1, 4, 1}), 1e-7);
}

RC_GTEST_PROP(DepthwiseConv1dCausal, FollowsItsDefinitionWithGradients, ()) {
  const int B = *rc::gen::inRange(1, 3), L = *rc::gen::inRange(1, 12), C = *rc::gen::inRange(1, 5), K = *rc::gen::inRange(1, 6);
  SCOPED_TRACE(::testing::Message() << "B" << B << " L" << L << " C" << C << " K" << K);
  auto plain = [=](const std::vector<Plain>& in) {
    const auto wide = plain_conv({.padding = K - 1, .groups = C})(in);
    Plain y(mx::Shape{B, L, C});
    for (int b = 0; b < B; ++b) {
      for (int t = 0; t < L; ++t) {
        for (int c = 0; c < C; ++c) y(b, t, c) = wide(b, t, c);
      }
    }
    return y;
  };
  auto causal = [](const std::vector<mx::array>& in) { return ops::depthwise_conv1d_causal(in[0], in[1], in[2]); };
  const std::vector<mx::array> in{random({B, L, C}, 1), random({C, 1, K}, 2), random({C}, 3)};
  expect_as_plain(causal, plain, in, 1e-5);
  expect_value_as_plain(causal, plain, in, mx::bfloat16, 3e-2);  // sums are rounded at each tap
  RC_ASSERT(!::testing::Test::HasFailure());
}

TEST(DepthwiseConv1dCausal, EdgesAndErrors) {
  auto u = random({0, 4, 3}, 1), w = random({3, 1, 3}, 2), b = random({3}, 3);
  EXPECT_EQ(ops::depthwise_conv1d_causal(u, w, b).shape(), u.shape());
  EXPECT_THROW(ops::depthwise_conv1d_causal(random({4, 3}, 1), w, b), Error);
  EXPECT_THROW(ops::depthwise_conv1d_causal(u, random({3, 3}, 1), b), Error);
  EXPECT_THROW(ops::depthwise_conv1d_causal(u, w, random({2}, 3)), Error);
  EXPECT_THROW(ops::depthwise_conv1d_causal(mx::astype(u, mx::int32), w, b), Error);
}

}  // namespace
}  // namespace m2bert
