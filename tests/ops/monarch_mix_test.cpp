// monarch_mix by itself; mixer_block_test.cpp compares it with its definition.
#include "m2bert/ops/monarch_mix.h"

#include <gtest/gtest.h>

#include "m2bert/error.h"
#include "mixer_case.h"
#include "tests/ops/cpu_kernels.h"

namespace m2bert {
namespace {

using namespace testing_ops;

// projected, u, short_weight, short_bias
std::vector<mx::array> inputs(const Mixer& m) {
  return {random({m.B, m.L, 3 * m.H}, 7), random({m.B, m.L, m.H}, 8), random({3 * m.H, 1, 3}, 9), random({3 * m.H}, 10)};
}

TEST(MonarchMix, EqualsFallback) {
  for (const auto& m :
       {Mixer{2, 9, 16, true, true}, Mixer{1, 33, 18, true, true}, Mixer{3, 1, 32, false, true}, Mixer{2, 64, 16, true, false}}) {
    const auto in = inputs(m);
    const auto f = filters_of(m);
    expect_near(ops::monarch_mix(in[0], in[1], in[2], in[3], f), ops::monarch_mix_fallback(in[0], in[1], in[2], in[3], f), 5e-6);
  }
}

TEST(MonarchMix, SpectraStandForTheirFilters) {
  for (const auto& m : {Mixer{2, 9, 18, true, true}, Mixer{2, 32, 18, false, true}, Mixer{1, 20, 18, true, false}}) {
    const auto in = inputs(m);
    auto f = filters_of(m);
    const auto expected = ops::monarch_mix_fallback(in[0], in[1], in[2], in[3], f);
    f.spectrum = ops::long_conv_spectrum(f.k, f.k_rev);
    if (f.k2) f.spectrum2 = ops::long_conv_spectrum(*f.k2, f.k2_rev);
    expect_near(ops::monarch_mix_fallback(in[0], in[1], in[2], in[3], f), expected, 0);
    expect_near(ops::monarch_mix(in[0], in[1], in[2], in[3], f), expected, 5e-6);
  }
}

TEST(MonarchMix, NamesWrongFilters) {
  const Mixer m{2, 9, 16, true, true};
  const auto in = inputs(m);
  auto mix = [&](const ops::MixerFilters& f) { return ops::monarch_mix(in[0], in[1], in[2], in[3], f); };
  auto f = filters_of(m);
  f.k2_rev.reset();
  EXPECT_THROW(mix(f), Error);
  f = filters_of({2, 8, 16, true, true});
  EXPECT_THROW(mix(f), Error);
  f = filters_of({2, 9, 16, true, false});
  f.spectrum2 = ops::long_conv_spectrum(f.k, f.k_rev);
  EXPECT_THROW(mix(f), Error);
  f = filters_of(m);
  f.D = mx::astype(f.D, mx::int32);
  EXPECT_THROW(mix(f), Error);
}

// Sequences as rows without padding; H 18 has no kernel.
const std::vector<int> kLengths{5, 0, 1, 33, 16, 64, 40, 2};

ops::CuSeqlens offsets(const std::vector<int>& lengths) {
  std::vector<int> at{0};
  for (int length : lengths) at.push_back(at.back() + length);
  return at;
}

// projected, u, short_weight, short_bias of these rows
std::vector<mx::array> row_inputs(int rows, int H) {
  return {random({rows, 3 * H}, 7), random({rows, H}, 8), random({3 * H, 1, 3}, 9), random({3 * H}, 10)};
}

// The first rows of the filters.
ops::MixerFilters first_rows(const ops::MixerFilters& f, int rows) {
  auto cut = [&](const std::optional<mx::array>& k) {
    return k ? std::optional(mx::slice(*k, {0, 0}, {rows, k->shape(1)})) : std::nullopt;
  };
  return {*cut(f.k), f.D, cut(f.k_rev), cut(f.k2), f.D2, cut(f.k2_rev)};
}

TEST(MonarchMixVarlen, MixesEachSequenceAsIfItWereAlone) {
  for (const auto& m : {Mixer{1, 64, 16, true, true}, Mixer{1, 100, 48, true, false}, Mixer{1, 70, 18, false, true}}) {
    const auto at = offsets(kLengths);
    const auto f = filters_of(m);
    const auto in = row_inputs(at.values().back(), m.H);
    const auto y = ops::monarch_mix_varlen(in[0], in[1], at, in[2], in[3], f);
    expect_near(ops::monarch_mix_varlen_fallback(in[0], in[1], at, in[2], in[3], f), y, 5e-6);
    for (int b = 0; b < at.sequences(); ++b) {
      const int begin = at.values()[size_t(b)], end = at.values()[size_t(b) + 1];
      if (begin == end) continue;
      auto rows = [&](const mx::array& a) { return mx::slice(a, {begin, 0}, {end, a.shape(1)}); };
      auto batch = [&](const mx::array& a) { return mx::expand_dims(rows(a), 0); };
      const auto alone = ops::monarch_mix_fallback(batch(in[0]), batch(in[1]), in[2], in[3], first_rows(f, end - begin));
      expect_near(batch(y), alone, 5e-6);
    }
  }
}

// The gradients with respect to projected, u, short_weight, short_bias, and every filter and skip term.
TEST(MonarchMixVarlen, HasTheGradientsOfTheFallback) {
  for (const auto& m : {Mixer{1, 64, 16, true, true}, Mixer{1, 100, 48, true, false}, Mixer{1, 70, 18, false, true}}) {
    const auto at = offsets(kLengths);
    const auto f = filters_of(m);
    auto in = row_inputs(at.values().back(), m.H);
    const auto cotangent = random(in[1].shape(), 11);
    for (const auto& a : {std::optional(f.k), std::optional(f.D), f.k_rev, f.k2, f.D2, f.k2_rev}) {
      if (a) in.push_back(*a);
    }
    auto with = [&](auto mix) {
      return [&, mix](const std::vector<mx::array>& x) {
        size_t next = 4;
        auto take = [&](const std::optional<mx::array>& a) { return a ? std::optional(x[next++]) : std::nullopt; };
        ops::MixerFilters g = f;
        g.k = *take(f.k), g.D = *take(f.D), g.k_rev = take(f.k_rev), g.k2 = take(f.k2), g.D2 = take(f.D2), g.k2_rev = take(f.k2_rev);
        return mix(x[0], x[1], at, x[2], x[3], g, mx::StreamOrDevice{});
      };
    };
    const auto ours = gradients(with(ops::monarch_mix_varlen), in, cotangent);
    const auto theirs = gradients(with(ops::monarch_mix_varlen_fallback), in, cotangent);
    for (size_t i = 0; i < in.size(); ++i) {
      SCOPED_TRACE(i);
      expect_near(ours[i], theirs[i], 2e-5);
    }
  }
}

TEST(MonarchMixVarlen, HasTheSameBitsInEveryBatch) {
  if (!has_cpu_kernels()) GTEST_SKIP() << "a CPU kernel";
  const Mixer m{1, 128, 32, true, true};
  const auto f = filters_of(m);
  for (const auto dtype : {mx::float32, mx::bfloat16}) {
    for (int n : {1, 2, 7, 64, 100}) {
      const auto at = offsets({17, n, 128, 3});
      const auto in = row_inputs(at.values().back(), m.H);
      auto mix = [&](int begin, int end, const ops::CuSeqlens& at, int filter_length) {
        auto rows = [&](const mx::array& a) { return mx::astype(mx::slice(a, {begin, 0}, {end, a.shape(1)}), dtype); };
        return ops::monarch_mix_varlen(rows(in[0]), rows(in[1]), at, in[2], in[3], first_rows(f, filter_length));
      };
      const auto together = mix(0, in[1].shape(0), at, 128);
      const auto alone = mix(17, 17 + n, offsets({n}), ops::varlen_filter_length(n, 128));
      EXPECT_TRUE(mx::array_equal(mx::slice(together, {17, 0}, {17 + n, m.H}), alone).item<bool>()) << n;
    }
  }
}

TEST(MonarchMixVarlen, NamesWrongShapes) {
  const auto at = offsets({5, 7});
  const auto in = row_inputs(12, 16);
  const auto f = filters_of({1, 7, 16, true, true}), short_filters = filters_of({1, 6, 16, true, true});
  EXPECT_NO_THROW(ops::monarch_mix_varlen(in[0], in[1], at, in[2], in[3], f));
  EXPECT_THROW(ops::monarch_mix_varlen(in[0], in[1], offsets({5, 6}), in[2], in[3], f), Error);
  EXPECT_THROW(ops::monarch_mix_varlen(in[0], in[1], at, in[2], in[3], short_filters), Error);
  EXPECT_THROW(ops::monarch_mix_varlen(in[0], in[0], at, in[2], in[3], f), Error);
}

TEST(MonarchMixVarlen, TransformsFollowTheLength) {
  EXPECT_EQ(ops::varlen_filter_length(1, 100), 1);
  EXPECT_EQ(ops::varlen_filter_length(5, 100), 8);
  EXPECT_EQ(ops::varlen_filter_length(64, 100), 64);
  EXPECT_EQ(ops::varlen_filter_length(65, 100), 100);
}

}  // namespace
}  // namespace m2bert
