// monarch_mix by itself; mixer_block_test.cpp compares it with its definition.
#include "m2bert/ops/monarch_mix.h"

#include <gtest/gtest.h>

#include "m2bert/error.h"
#include "mixer_case.h"

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
}

}  // namespace
}  // namespace m2bert
