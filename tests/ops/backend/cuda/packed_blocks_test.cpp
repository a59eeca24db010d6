// The packed mixer block of NVIDIA GPUs against the fallbacks in float32.
#include <gtest/gtest.h>

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"
#include "tests/ops/mixer_case.h"

namespace m2bert {
namespace {

using namespace testing_ops;

bool has_cuda_kernels() { return std::string(ops::backend_for({}).name()) == "cuda"; }

ops::MixerWeights mixer_weights(int H, bool biased) {
  const mx::array size(1 / std::sqrt(float(H)));
  ops::MixerWeights w{random({3 * H, H}, 20) * size, {}, random({3 * H, 1, 3}, 22), random({3 * H}, 23), random({H, H}, 24) * size, {}};
  if (biased) w.in_bias = random({3 * H}, 21), w.out_bias = random({H}, 25);
  return w;
}

class CudaMixerBlock : public ::testing::TestWithParam<Mixer> {
 protected:
  void SetUp() override {
    if (!has_cuda_kernels()) GTEST_SKIP() << "kernels of NVIDIA GPUs";
  }
};

TEST_P(CudaMixerBlock, EqualsTheMixer) {
  const auto& m = GetParam();
  const auto filters = filters_of(m);
  for (const bool biased : {false, true}) {
    auto w = mixer_weights(m.H, biased);
    for (const auto dtype : {mx::float32, mx::bfloat16}) {
      SCOPED_TRACE((dtype == mx::float32 ? "float32" : "bfloat16") + std::string(biased ? ", biased" : ""));
      for (auto* weight : {&w.in_weight, &w.out_weight}) weight->values = mx::astype(weight->values, dtype);
      if (w.in_bias) w.in_bias = mx::astype(mx::astype(*w.in_bias, dtype), mx::float32);
      const auto packed = ops::pack_mixer_block(w, m.residual);
      ASSERT_NE(packed, nullptr);
      const auto u = random({m.B, m.L, m.H}, 8, dtype);
      const auto y = (*packed)(u, packed->pack_filters(filters, dtype));
      EXPECT_EQ(y.dtype(), dtype);
      auto wide = w;
      for (auto* weight : {&wide.in_weight, &wide.out_weight}) weight->values = mx::astype(weight->values, mx::float32);
      const auto expected = ops::mixer_block_fallback(mx::astype(u, mx::float32), wide, filters);
      expect_near(y, expected, dtype == mx::float32 ? 3e-5 : 3e-2);
      // What one block returns, the next one takes. cuBLAS may sum up a product of another layout in another order, which rounds some
      // values of bfloat16 to a neighbour.
      const auto again = (*packed)(y, packed->pack_filters(filters, dtype));
      expect_near(again, (*packed)(mx::contiguous(y), packed->pack_filters(filters, dtype)), dtype == mx::float32 ? 1e-5 : 2e-2);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, CudaMixerBlock,
                         ::testing::Values(Mixer{1, 1, 16, true, true}, Mixer{2, 2, 16, true, true}, Mixer{2, 3, 32, false, true},
                                           Mixer{1, 5, 16, true, false}, Mixer{7, 16, 48, true, true}, Mixer{40, 33, 16, true, true},
                                           Mixer{9, 64, 80, false, false}, Mixer{9, 128, 64, true, true}, Mixer{3, 129, 16, true, true},
                                           Mixer{5, 300, 128, true, true}, Mixer{17, 200, 16, true, true}, Mixer{33, 251, 16, true, true},
                                           Mixer{20, 512, 16, true, true}, Mixer{3, 513, 16, true, true}, Mixer{1, 1000, 16, true, true},
                                           Mixer{5, 1024, 48, true, true}, Mixer{3, 2048, 16, true, true}, Mixer{2, 4095, 16, true, true},
                                           Mixer{1, 4096, 16, false, true}, Mixer{2, 8192, 16, true, true}, Mixer{2, 9999, 16, true, true},
                                           Mixer{3, 16384, 16, true, true}, Mixer{1, 20000, 16, true, true}));
// So many sequences that a block of mixer_toeplitz_batch has several groups of them.
const auto several_groups =
    ::testing::Values(Mixer{170, 33, 384, true, true}, Mixer{400, 64, 384, true, true}, Mixer{180, 200, 384, true, true});
INSTANTIATE_TEST_SUITE_P(SeveralGroups, CudaMixerBlock, several_groups);

// The same blocks without the fallback, so that compute-sanitizer needs seconds.
class CudaMixerGroups : public CudaMixerBlock {};

TEST_P(CudaMixerGroups, EqualSmallerBatches) {
  const auto& m = GetParam();
  auto w = mixer_weights(m.H, true);
  for (auto* weight : {&w.in_weight, &w.out_weight}) weight->values = mx::astype(weight->values, mx::bfloat16);
  const auto packed = ops::pack_mixer_block(w, m.residual);
  ASSERT_NE(packed, nullptr);
  const auto filters = packed->pack_filters(filters_of(m), mx::bfloat16);
  const auto u = random({m.B, m.L, m.H}, 8, mx::bfloat16);
  const auto y = (*packed)(u, filters);
  for (int first = 0; first < m.B; first += 64) {
    const mx::Shape start{first, 0, 0}, stop{std::min(first + 64, m.B), m.L, m.H};
    expect_near(mx::slice(y, start, stop), (*packed)(mx::slice(u, start, stop), filters), 2e-2);
  }
}

INSTANTIATE_TEST_SUITE_P(SeveralGroups, CudaMixerGroups, several_groups);

TEST(CudaMixerBlock, NamesWhatIsWrong) {
  if (!has_cuda_kernels()) GTEST_SKIP() << "kernels of NVIDIA GPUs";
  const Mixer m{2, 8, 16, true, true};
  const auto packed = ops::pack_mixer_block(mixer_weights(m.H, true), true);
  const auto filters = packed->pack_filters(filters_of(m), mx::float32);
  EXPECT_THROW((*packed)(random({2, 8, 32}, 1), filters), Error);
  EXPECT_THROW((*packed)(random({2, 400, 16}, 1), filters), Error);
  EXPECT_THROW((*packed)(random({2, 8, 16}, 1, mx::bfloat16), filters), Error);
  EXPECT_EQ((*packed)(mx::zeros({0, 8, 16}), filters).shape(), (mx::Shape{0, 8, 16}));
  EXPECT_EQ(ops::pack_mixer_block(mixer_weights(24, true), true), nullptr);
}

}  // namespace
}  // namespace m2bert
