#include "m2bert/ops/mixer_block.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <numbers>

#include "golden.h"
#include "m2bert/error.h"
#include "plain.h"

namespace m2bert {
namespace {

using namespace testing_ops;

struct Form {
  bool both_ways = false, residual = false, biases = true, gelu = false, mask = false;
};

std::ostream& operator<<(std::ostream& out, const Form& f) {
  return out << (f.both_ways ? "both ways" : "causal") << (f.residual ? ", residual" : "") << (f.biases ? "" : ", no biases")
             << (f.gelu ? ", gelu" : "") << (f.mask ? ", mask" : "");
}

struct Size {
  int B, L, H, K;
};

// The inputs that the form has, by name, in a fixed order.
std::vector<std::pair<std::string, mx::Shape>> names(Form f, Size n) {
  const int H = n.H;
  std::vector<std::pair<std::string, mx::Shape>> all{{"u", {n.B, n.L, H}},
                                                     {"in_weight", {3 * H, H}},
                                                     {"short_weight", {3 * H, 1, n.K}},
                                                     {"short_bias", {3 * H}},
                                                     {"out_weight", {H, H}},
                                                     {"k", {n.L, H}},
                                                     {"D", {H}}};
  if (f.biases) all.insert(all.end(), {{"in_bias", {3 * H}}, {"out_bias", {H}}});
  if (f.both_ways) all.push_back({"k_rev", {n.L, H}});
  if (f.residual) all.insert(all.end(), {{"k2", {n.L, H}}, {"D2", {H}}});
  if (f.residual && f.both_ways) all.push_back({"k2_rev", {n.L, H}});
  if (f.mask) all.push_back({"mask", {n.B, H}});
  return all;
}

// The index of the input with a name.
template <class T>
std::function<std::optional<T>(const std::string&)> lookup(Form f, Size n, const std::vector<T>& in) {
  return [all = names(f, n), &in](const std::string& name) -> std::optional<T> {
    for (size_t i = 0; i < all.size(); ++i) {
      if (all[i].first == name) return in[i];
    }
    return std::nullopt;
  };
}

std::vector<mx::array> inputs(Form f, Size n) {
  std::vector<mx::array> in;
  for (const auto& [name, shape] : names(f, n)) {
    const bool matrix = name == "in_weight" || name == "out_weight";
    in.push_back(random(shape, int(in.size()) + 1) * mx::array(matrix ? 1 / std::sqrt(float(n.H)) : 1.0f));
  }
  return in;
}

using MixerOp = mx::array (*)(const mx::array&, const ops::MixerWeights&, const ops::MixerFilters&, const ops::LongConvOptions&,
                              mx::StreamOrDevice);

Op mixer(Form f, Size n, MixerOp op = ops::mixer_block) {
  return [=](const std::vector<mx::array>& in) {
    auto at = lookup(f, n, in);
    ops::MixerWeights weights{*at("in_weight"), at("in_bias"), *at("short_weight"), *at("short_bias"), *at("out_weight"), at("out_bias")};
    ops::MixerFilters filters{*at("k"), *at("D"), at("k_rev"), at("k2"), at("D2"), at("k2_rev")};
    return op(*at("u"), weights, filters, {f.gelu, at("mask")}, {});
  };
}

Plain plain_linear(const Plain& x, const Plain& weight, const std::optional<Plain>& bias) {
  Plain y(mx::Shape{x.dim(0), x.dim(1), weight.dim(0)});
  for (int b = 0; b < y.dim(0); ++b) {
    for (int t = 0; t < y.dim(1); ++t) {
      for (int o = 0; o < y.dim(2); ++o) {
        double sum = bias ? (*bias)(o) : 0;
        for (int i = 0; i < x.dim(2); ++i) sum += weight(o, i) * x(b, t, i);
        y(b, t, o) = sum;
      }
    }
  }
  return y;
}

// The short convolution at one position.
double plain_short(const Plain& x, const Plain& weight, const Plain& bias, int b, int t, int c) {
  const int K = weight.dim(2);
  double sum = bias(c);
  for (int j = 0; j < K; ++j) sum += t - (K - 1) + j >= 0 ? weight(c, 0, j) * x(b, t - (K - 1) + j, c) : 0;
  return sum;
}

// The long convolution at one position.
double plain_long(const Plain& x, const Plain& k, const std::optional<Plain>& k_rev, const Plain& D, int b, int t, int c) {
  double sum = D(c) * x(b, t, c);
  for (int s = 0; s < x.dim(1); ++s) {
    if (s <= t) sum += k(t - s, c) * x(b, s, c);
    if (s > t && k_rev) sum += (*k_rev)(s - t - 1, c) * x(b, s, c);
  }
  return sum;
}

PlainOp plain_mixer(Form f, Size n) {
  return [=](const std::vector<Plain>& in) {
    auto at = lookup(f, n, in);
    const auto u = *at("u"), short_weight = *at("short_weight"), short_bias = *at("short_bias"), k = *at("k"), D = *at("D");
    const auto k_rev = at("k_rev"), k2 = at("k2"), D2 = at("D2"), k2_rev = at("k2_rev"), mask = at("mask");
    const auto projected = plain_linear(u, *at("in_weight"), at("in_bias"));
    Plain x2(u.shape), gated(u.shape), y(u.shape);
    for (int b = 0; b < n.B; ++b) {
      for (int t = 0; t < n.L; ++t) {
        for (int c = 0; c < n.H; ++c) {
          auto local = [&](int third) { return plain_short(projected, short_weight, short_bias, b, t, third * n.H + c); };
          gated(b, t, c) = local(0) * local(2);
          x2(b, t, c) = local(1);
        }
      }
    }
    for (int b = 0; b < n.B; ++b) {
      for (int t = 0; t < n.L; ++t) {
        for (int c = 0; c < n.H; ++c) {
          double conv = plain_long(gated, k, k_rev, D, b, t, c);
          if (f.gelu) conv *= 0.5 * std::erfc(-conv / std::numbers::sqrt2);
          if (mask) conv *= (*mask)(b, c);
          y(b, t, c) = x2(b, t, c) * conv + (k2 ? plain_long(u, *k2, k2_rev, *D2, b, t, c) : 0);
        }
      }
    }
    return plain_linear(y, *at("out_weight"), at("out_bias"));
  };
}

Form arbitrary_form() {
  auto flip = [] { return *rc::gen::arbitrary<bool>(); };
  return {flip(), flip(), flip(), flip(), flip()};
}

// float32 against sums in double, values and all gradients: 2e-5 of the largest value.
RC_GTEST_PROP(MixerBlockProperties, FollowsItsDefinitionWithGradients, ()) {
  const Form f = arbitrary_form();
  const Size n{*rc::gen::inRange(1, 3), *rc::gen::inRange(1, 10), *rc::gen::inRange(4, 6), *rc::gen::inRange(1, 5)};
  SCOPED_TRACE(::testing::Message() << f << " B" << n.B << " L" << n.L << " H" << n.H << " K" << n.K);
  auto op = *rc::gen::element(ops::mixer_block, ops::mixer_block_fallback);
  expect_as_plain(mixer(f, n, op), plain_mixer(f, n), inputs(f, n), 2e-5);
  RC_ASSERT(!::testing::Test::HasFailure());
}

// With a kernel (3 taps, 16 channels, no options) and without.
TEST(MixerBlock, FollowsItsDefinitionAtTheKernelsWidth) {
  for (Form f : {Form{true, true}, Form{false, false}, Form{true, true, true, true, true}}) {
    for (int K : {3, 4}) {
      SCOPED_TRACE(::testing::Message() << f << " K" << K);
      const Size n{1, 5, 16, K};
      expect_as_plain(mixer(f, n), plain_mixer(f, n), inputs(f, n), 2e-5);
    }
  }
}

TEST(MixerBlock, EqualsFallbackWithGradients) {
  for (Size n : {Size{2, 1, 16, 3}, {2, 37, 32, 3}, {1, 128, 16, 4}, {2, 64, 10, 3}}) {
    for (Form f : {Form{true, true}, Form{false, true, false}, Form{true, false, true, true, true}}) {
      SCOPED_TRACE(::testing::Message() << f << " L" << n.L << " H" << n.H << " K" << n.K);
      const auto in = inputs(f, n);
      expect_near(mixer(f, n)(in), mixer(f, n, ops::mixer_block_fallback)(in), 1e-5);
      const auto cotangent = random(in[0].shape(), 99);
      const auto ours = gradients(mixer(f, n), in, cotangent), theirs = gradients(mixer(f, n, ops::mixer_block_fallback), in, cotangent);
      for (size_t i = 0; i < in.size(); ++i) {
        SCOPED_TRACE(names(f, n)[i].first);
        const bool unused = n.L == 1 && names(f, n)[i].first.ends_with("_rev");  // k_rev[L-1] is unused
        if (unused) {
          EXPECT_LE(mx::max(mx::abs(ours[i])).item<float>(), 1e-5);
        } else {
          expect_near(ours[i], theirs[i], 2e-5);
        }
      }
    }
  }
}

TEST(MixerBlock, GradientsOfSomeInputs) {
  for (int H : {6, 16}) {
    const Form f{true, true, true, false, false};
    const Size n{2, 7, H, 3};
    const auto in = inputs(f, n);
    const auto cotangent = random(in[0].shape(), 99);
    const auto all = gradients(mixer(f, n), in, cotangent);
    for (int i = 0; i < int(in.size()); ++i) {
      SCOPED_TRACE(names(f, n)[size_t(i)].first);
      auto loss = [&](const std::vector<mx::array>& x) { return mx::sum(mixer(f, n)(x) * cotangent); };
      expect_near(mx::grad(loss, std::vector<int>{i})(in)[0], all[size_t(i)], 1e-6);
    }
  }
}

// Half precision rounds between the steps (projections, gates): a few half-precision ulps of the largest value.
TEST(MixerBlock, HalfPrecision) {
  for (auto [dtype, tolerance] : {std::pair{mx::bfloat16, 3e-2}, {mx::float16, 4e-3}}) {
    for (Form f : {Form{true, true}, Form{true, true, true, true, true}}) {
      for (int H : {6, 16}) {
        SCOPED_TRACE(::testing::Message() << f << " H" << H << " " << dtype);
        const Size n{2, 9, H, 3};
        expect_value_as_plain(mixer(f, n), plain_mixer(f, n), inputs(f, n), dtype, tolerance);
        auto in = inputs(f, n);
        for (auto& x : in) x = mx::astype(x, dtype);
        const auto cotangent = random(in[0].shape(), 99);
        const auto ours = gradients(mixer(f, n), in, cotangent);
        for (auto& x : in) x = mx::astype(x, mx::float32);
        const auto wide = gradients(mixer(f, n), in, cotangent);
        for (size_t i = 0; i < in.size(); ++i) {
          SCOPED_TRACE(names(f, n)[i].first);
          EXPECT_EQ(ours[i].dtype(), dtype);
          expect_near(ours[i], wide[i], 2 * tolerance);
        }
      }
    }
  }
}

// Upstream's flash_mm: other names, tap order and layout of the filters (monarch_mix.h).
TEST(MixerBlock, GoldenOfFlashMm) {
  auto f = [](bool options) {
    return [options](const std::vector<mx::array>& in) {
      const int L = in[0].shape(1), H = in[0].shape(2), K = in[5].shape(1);
      auto rows = mx::concatenate({in[5], in[6], in[7]}, 0);
      auto turned = mx::slice(rows, {0, K - 1}, {3 * H, -K - 1}, {1, -1});
      auto split = [&](const mx::array& k) {
        auto halves = mx::split(mx::transpose(k), 2, 0);
        return std::pair{halves[0], mx::slice(halves[1], {L - 1, 0}, {-L - 1, H}, {-1, 1})};
      };
      auto [k, k_rev] = split(in[11]);
      auto [k2, k2_rev] = split(in[12]);
      ops::MixerWeights weights{in[1], in[2], mx::expand_dims(turned, 1), mx::concatenate({in[8], in[9], in[10]}, 0), in[3], in[4]};
      return ops::mixer_block(in[0], weights, {k, in[13], k_rev, k2, in[14], k2_rev},
                              {options, options ? std::optional(in[15]) : std::nullopt});
    };
  };
  std::vector<std::string> names{"u",         "in_weight", "in_bias",  "out_weight", "out_bias", "x1_s", "x2_s", "v_s",
                                 "x1_s_bias", "x2_s_bias", "v_s_bias", "k",          "k_resid",  "D",    "Du"};
  expect_golden("flash_mm", names, f(false));
  names.push_back("dropout_mask");
  expect_golden("flash_mm_gelu_mask", names, f(true));
}

TEST(MixerBlock, SupportsAnEmptyBatch) {
  for (int H : {6, 16}) {
    const Form f{true, true, true, true, true};
    const Size n{0, 5, H, 3};
    const auto in = inputs(f, n);
    EXPECT_EQ(mixer(f, n)(in).shape(), in[0].shape());
    for (const auto& g : gradients(mixer(f, n), in, mx::zeros(in[0].shape()))) expect_near(g, mx::zeros_like(g), 0);
  }
}

TEST(MixerBlock, NamesWrongShapesAndDtypes) {
  const Form f{true, true};
  const Size n{2, 5, 4, 3};
  const auto all = names(f, n);
  for (size_t i = 0; i < all.size(); ++i) {
    SCOPED_TRACE(all[i].first);
    auto in = inputs(f, n);
    auto wrong = all[i].second;
    wrong.back() += 1;
    if (all[i].first != "short_weight") {  // any number of taps is valid
      in[i] = random(wrong, 1);
      EXPECT_THROW(mixer(f, n)(in), Error);
      EXPECT_THROW(mixer(f, n, ops::mixer_block_fallback)(in), Error);
    }
    in = inputs(f, n);
    in[i] = mx::astype(in[i], mx::int32);
    EXPECT_THROW(mixer(f, n)(in), Error);
    EXPECT_THROW(mixer(f, n, ops::mixer_block_fallback)(in), Error);
  }
  auto in = inputs(f, n);
  in[2] = random({11, 1, 3}, 1);
  EXPECT_THROW(mixer(f, n)(in), Error);
}

// Values and gradients of each sequence are those that it has alone.
TEST(MixerBlock, SequencesOfDifferentLengths) {
  const int H = 16, L = 40;
  const std::vector<int> offsets{0, 40, 40, 47, 48, 80};
  const std::vector<mx::array> in{random({80, H}, 1), random({3 * H, H}, 2), random({3 * H, 1, 3}, 3), random({3 * H}, 4),
                                  random({H, H}, 5),  random({L, H}, 6),     random({H}, 7),           random({L, H}, 8),
                                  random({L, H}, 9),  random({H}, 10),       random({L, H}, 11),       random({3 * H}, 12),
                                  random({H}, 13)};
  auto weights = [](const auto& in) { return ops::MixerWeights{{in[1]}, in[11], in[2], in[3], {in[4]}, in[12]}; };
  auto filters = [&](const auto& in, int length) {
    auto cut = [&](const mx::array& k) { return mx::slice(k, {0, 0}, {length, H}); };
    return ops::MixerFilters{cut(in[5]), in[6], cut(in[7]), cut(in[8]), in[9], cut(in[10])};
  };
  auto together = [&](const std::vector<mx::array>& in) { return ops::mixer_block_varlen(in[0], offsets, weights(in), filters(in, L)); };
  auto alone = [&](const std::vector<mx::array>& in) {
    std::vector<mx::array> rows;
    for (size_t b = 0; b + 1 < offsets.size(); ++b) {
      const int begin = offsets[b], length = offsets[b + 1] - begin;
      if (length == 0) continue;
      const auto u = mx::expand_dims(mx::slice(in[0], {begin, 0}, {begin + length, H}), 0);
      rows.push_back(mx::squeeze(ops::mixer_block_fallback(u, weights(in), filters(in, length)), 0));
    }
    return mx::concatenate(rows, 0);
  };
  expect_near(together(in), alone(in), 1e-5);
  const auto cotangent = random({80, H}, 20);
  const auto found = gradients(together, in, cotangent), expected = gradients(alone, in, cotangent);
  for (size_t i = 0; i < in.size(); ++i) {
    SCOPED_TRACE(i);
    expect_near(found[i], expected[i], 1e-4);
  }
  EXPECT_THROW(ops::mixer_block_varlen(in[0], std::vector<int>{0, 41, 80}, weights(in), filters(in, L)), Error);
  EXPECT_THROW(ops::mixer_block_varlen(in[0], std::vector<int>{0, 40}, weights(in), filters(in, L)), Error);
  if (ops::mixer_row_alignment(weights(in), L, mx::float32) == 1) {
    EXPECT_THROW(ops::mixer_block_varlen(in[0], ops::CuSeqlens({0, 40, 80}, {40, 39}), weights(in), filters(in, L)), Error);
  }
}

}  // namespace
}  // namespace m2bert
