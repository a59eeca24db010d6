// The mixer's training form on NVIDIA GPUs, bfloat16, against the fallback in float32: values and gradients.
#include "m2bert/ops/mixer_block.h"

#include <gtest/gtest.h>

#include "m2bert/ops/backend/backend.h"
#include "tests/ops/mixer_case.h"

namespace m2bert {
namespace {

using namespace testing_ops;
using Arrays = std::vector<mx::array>;

bool has_cuda_kernels() { return std::string(ops::backend_for({}).name()) == "cuda"; }

void append_filters(const ops::MixerFilters& f, Arrays& all) {
  for (const auto& a : {std::optional(f.k), std::optional(f.D), f.k_rev, f.k2, f.D2, f.k2_rev}) {
    if (a) all.push_back(*a);
  }
}
// From append_filters()'s place on, which moves behind them.
ops::MixerFilters take_filters(const Mixer& m, const Arrays& in, size_t& at) {
  ops::MixerFilters f{in[at], in[at + 1]};
  at += 2;
  if (m.bidirectional) f.k_rev = in[at++];
  if (m.residual) f.k2 = in[at++], f.D2 = in[at++];
  if (m.residual && m.bidirectional) f.k2_rev = in[at++];
  return f;
}
// The value of f and all gradients for a cotangent.
template <typename Function>
Arrays value_and_gradients(Function f, const Arrays& in, const mx::array& dy) {
  auto [y, gradients] = mx::vjp([&](const Arrays& in) { return Arrays{f(in)}; }, in, {mx::astype(dy, in[0].dtype())});
  gradients.insert(gradients.begin(), y[0]);
  return gradients;
}
Arrays in_float32(const Arrays& all) {
  Arrays wide;
  for (const auto& a : all) wide.push_back(mx::astype(a, mx::float32));
  return wide;
}
// found: a value and the gradients of `in`, bfloat16.
void expect_value_and_gradients(const Arrays& found, const Arrays& expected, const Arrays& in) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    SCOPED_TRACE(i == 0 ? "value" : "gradient " + std::to_string(i - 1));
    EXPECT_EQ(found[i].dtype(), i == 0 ? mx::bfloat16 : in[i - 1].dtype());
    expect_near(found[i], expected[i], 3e-2);
  }
}

// u, in_weight, short_weight, short_bias, out_weight, the filters, and the biases.
struct Inputs {
  Mixer m;
  bool biased;

  Arrays arrays() const {
    const int H = m.H;
    const mx::array size(1 / std::sqrt(float(H)));
    auto rounded = [](const mx::array& a) { return mx::astype(a, mx::bfloat16); };
    Arrays all{rounded(random({m.B, m.L, H}, 8)), rounded(random({3 * H, H}, 20) * size), rounded(random({3 * H, 1, 3}, 22)),
               rounded(random({3 * H}, 23)), rounded(random({H, H}, 24) * size)};
    append_filters(filters_of(m), all);
    if (biased) all.push_back(rounded(random({3 * H}, 21))), all.push_back(rounded(random({H}, 25)));
    return all;
  }

  template <typename Block>
  mx::array run(Block block, const Arrays& in) const {
    size_t at = 5;
    const auto f = take_filters(m, in, at);
    ops::MixerWeights w{{in[1]}, {}, in[2], in[3], {in[4]}, {}};
    if (biased) w.in_bias = in[at++], w.out_bias = in[at++];
    return block(in[0], w, f, ops::LongConvOptions{}, mx::StreamOrDevice{});
  }

  // The value and all gradients for a random cotangent.
  template <typename Block>
  Arrays differentiate(Block block, const Arrays& in) const {
    return value_and_gradients([&](const Arrays& in) { return run(block, in); }, in, random({m.B, m.L, m.H}, 99, mx::bfloat16));
  }
};

class CudaMixerTraining : public ::testing::TestWithParam<Mixer> {
 protected:
  void SetUp() override {
    if (!has_cuda_kernels()) GTEST_SKIP() << "kernels of NVIDIA GPUs";
  }
};

TEST_P(CudaMixerTraining, EqualsTheFallback) {
  for (const bool biased : {false, true}) {
    const Inputs inputs{GetParam(), biased};
    const auto in = inputs.arrays();
    expect_value_and_gradients(inputs.differentiate(ops::mixer_block, in), inputs.differentiate(ops::mixer_block_fallback, in_float32(in)),
                               in);
  }
}

TEST_P(CudaMixerTraining, EqualInputsGiveEqualGradients) {
  const Inputs inputs{GetParam(), true};
  const auto in = inputs.arrays();
  const auto first = inputs.differentiate(ops::mixer_block, in), second = inputs.differentiate(ops::mixer_block, in);
  for (size_t i = 0; i < first.size(); ++i) EXPECT_TRUE(mx::array_equal(first[i], second[i]).item<bool>()) << i;
}

// Of sequences with unused rows behind them, against the fallback of each.
TEST(CudaMixerTraining, SequencesOfDifferentLengths) {
  if (!has_cuda_kernels()) GTEST_SKIP() << "kernels of NVIDIA GPUs";
  for (const int longest : {100, 250, 300, 1200, 4100, 9000, 17000}) {
    const Inputs inputs{{1, longest, 48, true, longest != 300}, true};
    const int H = inputs.m.H;
    std::vector<int> lengths{longest, longest - 3, 77, 64, 9, 1, 0};
    if (longest == 250) lengths.insert(lengths.begin() + 2, 20, 130);  // as many as a product on tensor cores has rows, and more
    std::vector<int> begins{0};
    Arrays rows;
    for (const int n : lengths) {
      begins.push_back(begins.back() + (n + 7) / 8 * 8);
      rows.push_back(mx::ones({n, 1})), rows.push_back(mx::zeros({begins.back() - begins[begins.size() - 2] - n, 1}));
    }
    const ops::CuSeqlens sequences(begins, lengths);
    auto in = inputs.arrays();
    in[0] = random({begins.back(), H}, 8, mx::bfloat16);
    auto kernel = [&](const mx::array& u, const ops::MixerWeights& w, const ops::MixerFilters& f, auto&&...) {
      EXPECT_EQ(ops::mixer_row_alignment(w, f.k.shape(0), u.dtype()), 8);
      return ops::mixer_block_varlen(u, sequences, w, f);
    };
    auto fallback = [&](const mx::array& u, const ops::MixerWeights& w, const ops::MixerFilters& f, auto&&...) {
      Arrays rows;
      for (size_t b = 0; b + 1 < lengths.size(); ++b) {
        auto cut = [&](const mx::array& k) { return mx::slice(k, {0, 0}, {lengths[b], H}); };
        auto own = f;
        own.k = cut(f.k), own.k_rev = cut(*f.k_rev);
        if (f.k2) own.k2 = cut(*f.k2), own.k2_rev = cut(*f.k2_rev);
        const auto x = mx::expand_dims(mx::slice(u, {begins[b], 0}, {begins[b] + lengths[b], H}), 0);
        rows.push_back(mx::squeeze(ops::mixer_block_fallback(x, w, own), 0));
        rows.push_back(mx::zeros({begins[b + 1] - begins[b] - lengths[b], H}));
      }
      return mx::concatenate(rows, 0);
    };
    const auto used = mx::concatenate(rows, 0), dy = mx::astype(random({begins.back(), H}, 99) * used, mx::bfloat16);
    auto differentiate = [&](auto block, const Arrays& in) {
      return value_and_gradients([&](const Arrays& in) { return inputs.run(block, in) * mx::astype(used, in[0].dtype()); }, in, dy);
    };
    SCOPED_TRACE(longest);
    expect_value_and_gradients(differentiate(kernel, in), differentiate(fallback, in_float32(in)), in);
  }
}

// The core by itself: projected and u as they come, or views of channel-major arrays.
TEST(CudaMonarchMix, EqualsTheFallback) {
  if (!has_cuda_kernels()) GTEST_SKIP() << "kernels of NVIDIA GPUs";
  for (const auto& m :
       {Mixer{3, 33, 5, true, true}, Mixer{9, 128, 16, false, true}, Mixer{2, 300, 33, true, false}, Mixer{3, 2048, 16, true, true},
        Mixer{2, 5000, 33, true, false}, Mixer{1, 9001, 16, true, true}, Mixer{2, 20000, 16, false, true}}) {
    for (const bool channel_major : {false, true}) {
      SCOPED_TRACE(::testing::Message() << m << (channel_major ? " channel-major" : ""));
      auto input = [&](int columns, int seed) {
        if (!channel_major) return random({m.B, m.L, columns}, seed, mx::bfloat16);
        return mx::transpose(random({columns, m.B, m.L}, seed, mx::bfloat16), {1, 2, 0});
      };
      Arrays in{input(3 * m.H, 7), input(m.H, 8), random({3 * m.H, 1, 3}, 22, mx::bfloat16), random({3 * m.H}, 23, mx::bfloat16)};
      append_filters(filters_of(m), in);
      EXPECT_TRUE(ops::backend_for({}).monarch_mix(in[0], in[1], in[2], in[3], filters_of(m), mx::default_stream(mx::default_device())));
      auto differentiate = [&](auto mix, const Arrays& in) {
        auto f = [&](const Arrays& in) {
          size_t at = 4;
          return mix(in[0], in[1], in[2], in[3], take_filters(m, in, at), ops::LongConvOptions{}, mx::StreamOrDevice{});
        };
        return value_and_gradients(f, in, random({m.B, m.L, m.H}, 99, mx::bfloat16));
      };
      expect_value_and_gradients(differentiate(ops::monarch_mix, in), differentiate(ops::monarch_mix_fallback, in_float32(in)), in);
    }
  }
}

TEST(CudaMonarchMix, LeavesTheRestToTheFallback) {
  if (!has_cuda_kernels()) GTEST_SKIP() << "kernels of NVIDIA GPUs";
  const Mixer m{2, 100, 16, true, true};
  const auto s = mx::default_stream(mx::default_device());
  auto has_kernel = [&](mx::Dtype projected, mx::Dtype u, int taps, const ops::MixerFilters& f) {
    return ops::backend_for({})
        .monarch_mix(random({m.B, m.L, 3 * m.H}, 7, projected), random({m.B, m.L, m.H}, 8, u), random({3 * m.H, 1, taps}, 22),
                     random({3 * m.H}, 23), f, s)
        .has_value();
  };
  const auto f = filters_of(m);
  EXPECT_TRUE(has_kernel(mx::bfloat16, mx::bfloat16, 3, f));
  EXPECT_FALSE(has_kernel(mx::float16, mx::float16, 3, f));
  EXPECT_FALSE(has_kernel(mx::float32, mx::bfloat16, 3, f));
  EXPECT_FALSE(has_kernel(mx::bfloat16, mx::bfloat16, 4, f));
  auto with_spectrum = f;
  with_spectrum.spectrum = mx::zeros({m.L + 1, m.H}, mx::complex64);
  EXPECT_FALSE(has_kernel(mx::bfloat16, mx::bfloat16, 3, with_spectrum));
}

INSTANTIATE_TEST_SUITE_P(Shapes, CudaMixerTraining,
                         ::testing::Values(Mixer{1, 1, 16, true, true}, Mixer{2, 2, 16, true, true}, Mixer{2, 3, 32, false, true},
                                           Mixer{1, 5, 16, true, false}, Mixer{40, 33, 16, true, true}, Mixer{9, 128, 64, true, true},
                                           Mixer{3, 129, 16, false, false}, Mixer{5, 300, 128, true, true}, Mixer{3, 512, 16, true, true},
                                           Mixer{17, 200, 16, true, true}, Mixer{33, 251, 16, true, true}, Mixer{20, 512, 16, false, true},
                                           Mixer{3, 513, 16, true, true}, Mixer{5, 1024, 48, true, true}, Mixer{3, 2048, 16, true, true},
                                           Mixer{2, 4095, 16, true, true}, Mixer{2, 8192, 16, true, true}, Mixer{3, 9001, 16, true, true},
                                           Mixer{2, 16384, 16, false, true}, Mixer{3, 20000, 16, true, true},
                                           Mixer{1, 32768, 16, true, false}));

}  // namespace
}  // namespace m2bert
