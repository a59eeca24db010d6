#include "m2bert/ops/packed_mixer_block.h"
#include "m2bert/ops/cpu_features.h"

#include <gtest/gtest.h>

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"
#include "mixer_case.h"
#include "tests/ops/cpu_kernels.h"

namespace m2bert {
namespace {

using namespace testing_ops;

ops::MixerWeights weights_of(int H, mx::Dtype dtype = mx::float32) {
  const mx::array size(1 / std::sqrt(float(H)));
  auto cast = [&](const mx::array& a) { return dtype == mx::int8 ? ops::quantize_weight(a) : ops::Weight(mx::astype(a, dtype)); };
  return {cast(random({3 * H, H}, 20) * size), random({3 * H}, 21), random({3 * H, 1, 3}, 22), random({3 * H}, 23),
          cast(random({H, H}, 24) * size),     random({H}, 25)};
}

class PackedMixerBlock : public ::testing::TestWithParam<Mixer> {
 protected:
  void SetUp() override {
    if (!testing_ops::has_cpu_kernels()) GTEST_SKIP() << "a CPU kernel";
  }
  static mx::array u() { return random({GetParam().B, GetParam().L, GetParam().H}, 8); }
};

TEST_P(PackedMixerBlock, EqualsTheMixer) {
  const auto& m = GetParam();
  const auto filters = filters_of(m);
  const auto weights = weights_of(m.H);
  const auto packed = ops::pack_mixer_block(weights, m.residual);
  const auto y = (*packed)(u(), packed->pack_filters(filters, mx::float32));
  expect_near(y, ops::mixer_block_fallback(u(), weights, filters), 1e-5);
}

TEST_P(PackedMixerBlock, Bfloat16IsCloseToFloat32) {
  if (!ops::supports_bfloat16_gemm()) GTEST_SKIP() << "this CPU has no bfloat16 products";
  const auto& m = GetParam();
  const auto filters = filters_of(m);
  auto weights = weights_of(m.H, mx::bfloat16);
  const auto half = mx::astype(u(), mx::bfloat16);
  const auto packed = ops::pack_mixer_block(weights, m.residual);
  const auto y = (*packed)(half, packed->pack_filters(filters, mx::bfloat16));
  EXPECT_EQ(y.dtype(), mx::bfloat16);
  for (auto* w : {&weights.in_weight, &weights.out_weight}) w->values = mx::astype(w->values, mx::float32);
  expect_near(y, ops::mixer_block_fallback(mx::astype(half, mx::float32), weights, filters), 3e-2);
}

TEST_P(PackedMixerBlock, Int8EqualsTheInt8Mixer) {
  const auto& m = GetParam();
  const auto filters = filters_of(m);
  const auto weights = weights_of(m.H, mx::int8);
  const auto packed = ops::pack_mixer_block(weights, m.residual);
  ASSERT_EQ(packed != nullptr, ops::supports_int8_gemm());
  if (!packed) GTEST_SKIP() << "this CPU has no int8 products";
  const auto transformed = packed->pack_filters(filters, mx::float32), fallback = ops::mixer_block_fallback(u(), weights, filters);
  expect_near((*packed)(u(), transformed), fallback, 1e-2);
  if (ops::supports_bfloat16_gemm())
    expect_near((*packed)(mx::astype(u(), mx::bfloat16), packed->pack_filters(filters, mx::bfloat16)), fallback, 4e-2);
}

TEST_P(PackedMixerBlock, OneMatrixMayBeInt8) {
  if (!ops::supports_int8_gemm()) GTEST_SKIP() << "this CPU has no int8 products";
  const auto& m = GetParam();
  const auto filters = filters_of(m);
  const auto exact = weights_of(m.H), int8 = weights_of(m.H, mx::int8), bfloat16 = weights_of(m.H, mx::bfloat16);
  auto with = [&](const ops::Weight& in, const ops::Weight& out) {
    auto weights = exact;
    weights.in_weight = in, weights.out_weight = out;
    return weights;
  };
  for (const auto& weights : {with(int8.in_weight, exact.out_weight), with(exact.in_weight, int8.out_weight)}) {
    const auto packed = ops::pack_mixer_block(weights, m.residual);
    expect_near((*packed)(u(), packed->pack_filters(filters, mx::float32)), ops::mixer_block_fallback(u(), weights, filters), 1e-2);
  }
  if (!ops::supports_bfloat16_gemm()) return;
  for (const auto& [narrow, wide] : {std::pair(with(int8.in_weight, bfloat16.out_weight), with(int8.in_weight, exact.out_weight)),
                                     std::pair(with(bfloat16.in_weight, int8.out_weight), with(exact.in_weight, int8.out_weight))}) {
    const auto packed = ops::pack_mixer_block(narrow, m.residual);
    expect_near((*packed)(mx::astype(u(), mx::bfloat16), packed->pack_filters(filters, mx::bfloat16)),
                ops::mixer_block_fallback(u(), wide, filters), 4e-2);
    EXPECT_THROW((*packed)(u(), packed->pack_filters(filters, mx::float32)), Error);
  }
}

// Filters as networks, and the same filters in the time domain.
ops::FilterNetworks networks_of(const Mixer& m) {
  constexpr int order = 9;
  auto network = [&](int seed) {
    return ops::FilterNetwork{random({m.L, order}, seed), random({m.H, order}, seed + 1) * mx::array(0.3f / std::sqrt(float(m.L)))};
  };
  ops::FilterNetworks f{network(30), mx::linspace(0, 1, m.L), random({m.H}, 40) * mx::array(3.0f), random({m.H}, 41)};
  if (m.bidirectional) f.k_rev = network(32);
  if (!m.residual) return f;
  f.k2 = network(34);
  f.times2 = mx::linspace(0, 2, m.L);
  f.deltas2 = random({m.H}, 42);
  f.D2 = random({m.H}, 43);
  if (m.bidirectional) f.k2_rev = network(36);
  return f;
}

ops::MixerFilters in_time(const ops::FilterNetworks& f) {
  auto evaluate = [](const ops::FilterNetwork& n, const mx::array& times, const mx::array& deltas) {
    const auto decay = mx::exp(-mx::reshape(times, {-1, 1}) * mx::abs(deltas));
    return mx::matmul(n.features, mx::transpose(n.weight)) * decay;
  };
  ops::MixerFilters filters{evaluate(f.k, f.times, f.deltas), f.D, {}, {}, f.D2, {}};
  if (f.k_rev) filters.k_rev = evaluate(*f.k_rev, f.times, f.deltas);
  if (f.k2) filters.k2 = evaluate(*f.k2, *f.times2, *f.deltas2);
  if (f.k2_rev) filters.k2_rev = evaluate(*f.k2_rev, *f.times2, *f.deltas2);
  return filters;
}

TEST_P(PackedMixerBlock, NetworksAreTheFiltersTheyMake) {
  const auto& m = GetParam();
  const auto networks = networks_of(m);
  const auto packed = ops::pack_mixer_block(weights_of(m.H), m.residual);
  const auto from_time = packed->pack_filters(in_time(networks), mx::float32);
  expect_near(packed->pack_filters(networks, mx::float32), from_time, 1e-5);
  expect_near((*packed)(u(), networks), (*packed)(u(), from_time), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Shapes, PackedMixerBlock,
                         ::testing::Values(Mixer{1, 1, 16, true, true}, Mixer{2, 2, 16, true, true}, Mixer{2, 3, 32, false, true},
                                           Mixer{1, 5, 16, true, false}, Mixer{7, 16, 48, true, true}, Mixer{40, 33, 16, true, true},
                                           Mixer{9, 64, 80, false, false}, Mixer{9, 128, 64, true, true}, Mixer{5, 300, 128, true, true},
                                           Mixer{1, 1000, 16, true, true}, Mixer{2, 4096, 16, true, true}));

// Transforms that are split into 4, 2 and then 4, 16, and 4 and then 16 parts that fit into the cache.
INSTANTIATE_TEST_SUITE_P(LongSequences, PackedMixerBlock,
                         ::testing::Values(Mixer{1, 8192, 16, true, true}, Mixer{1, 16000, 16, true, true}, Mixer{1, 32768, 16, true, true},
                                           Mixer{1, 131072, 16, true, false}));

TEST(PackedMixerBlock, ANaNStaysInItsSequence) {
  if (!testing_ops::has_cpu_kernels()) GTEST_SKIP() << "a CPU kernel";
  const Mixer m{6, 40, 32, true, true};
  const auto packed = ops::pack_mixer_block(weights_of(m.H), true);
  const auto filters = packed->pack_filters(filters_of(m), mx::float32);
  const auto u = random({m.B, m.L, m.H}, 8), clean = (*packed)(u, filters);
  const auto third = mx::reshape(mx::equal(mx::arange(m.B), mx::array(2)), {m.B, 1, 1});
  const auto y = (*packed)(mx::where(third, mx::array(NAN), u), filters);
  EXPECT_TRUE(mx::all(mx::isnan(mx::take(y, 2, 0))).item<bool>());
  auto others = [&](const mx::array& a) { return mx::where(third, mx::array(0.0f), a); };
  EXPECT_TRUE(mx::array_equal(others(y), others(clean)).item<bool>());
}

TEST(PackedMixerBlock, ReturnsNullForUnsupportedWeights) {
  EXPECT_EQ(ops::pack_mixer_block(weights_of(24), true), nullptr);
  EXPECT_EQ(ops::pack_mixer_block(weights_of(32, mx::float16), true), nullptr);
  auto mixed = weights_of(32);
  mixed.out_weight = weights_of(32, mx::bfloat16).out_weight;
  EXPECT_EQ(ops::pack_mixer_block(mixed, true), nullptr);
  auto taps = weights_of(32);
  taps.short_weight = random({96, 1, 4}, 1);
  EXPECT_EQ(ops::pack_mixer_block(taps, true), nullptr);
}

TEST(PackedMixerBlock, NamesWhatIsWrong) {
  if (!testing_ops::has_cpu_kernels()) GTEST_SKIP() << "a CPU kernel";
  const Mixer m{2, 8, 16, true, true};
  const auto packed = ops::pack_mixer_block(weights_of(m.H), true);
  const auto filters = packed->pack_filters(filters_of(m), mx::float32);
  const auto u = random({2, 8, 16}, 1);
  EXPECT_THROW((*packed)(random({2, 8, 32}, 1), filters), Error);
  EXPECT_THROW((*packed)(random({2, 40, 16}, 1), filters), Error);
  EXPECT_THROW((*packed)(u, packed->pack_filters(filters_of(m), mx::bfloat16)), Error);
  EXPECT_THROW((*packed)(mx::astype(u, mx::bfloat16), filters), Error);
  EXPECT_THROW((*packed)(u, networks_of({2, 9, 16, true, true})), Error);
  EXPECT_THROW((*packed)(u, networks_of({2, 8, 16, true, false})), Error);
  auto broken = networks_of(m);
  broken.D2.reset();
  EXPECT_THROW(packed->pack_filters(broken, mx::float32), Error);
  EXPECT_THROW(packed->pack_filters(ops::MixerFilters{random({8, 16}, 1), random({15}, 2), {}, {}, {}, {}}, mx::float32), Error);
  EXPECT_EQ((*packed)(mx::zeros({0, 8, 16}), filters).shape(), (mx::Shape{0, 8, 16}));
  EXPECT_THROW(mx::grad([&](const mx::array& x) { return mx::sum((*packed)(x, filters)); })(u), Error);
}

// Sequences of different lengths: each has the bits that it has alone, with packed filters or networks, in few rows or many.
TEST(PackedMixerBlock, RowsDoNotDependOnTheBatch) {
  if (!testing_ops::has_cpu_kernels()) GTEST_SKIP() << "a CPU kernel";
  const Mixer m{1, 300, 64, true, true};
  const auto networks = networks_of(m);
  auto cut = [&](int rows) {
    auto first = [&](const mx::array& a) { return a.ndim() == 1 ? mx::slice(a, {0}, {rows}) : mx::slice(a, {0, 0}, {rows, a.shape(1)}); };
    auto f = networks;
    f.times = first(f.times), f.times2 = first(*f.times2);
    for (auto* network : {&f.k, &*f.k_rev, &*f.k2, &*f.k2_rev}) network->features = first(network->features);
    return f;
  };
  std::vector<int> lengths{7, 300, 1, 129, 2, 64};
  while (lengths.size() < 60) lengths.push_back(3 + int(lengths.size()) % 40);
  std::vector<int> offsets{0};
  for (int length : lengths) offsets.push_back(offsets.back() + length);
  const auto rows = random({offsets.back(), m.H}, 8);
  for (const auto& [weights, dtype] : {std::pair(mx::float32, mx::float32), std::pair(mx::bfloat16, mx::bfloat16),
                                       std::pair(mx::int8, mx::float32), std::pair(mx::int8, mx::bfloat16)}) {
    const auto block = ops::pack_mixer_block(weights_of(m.H, weights), m.residual);
    if (!block || (dtype == mx::bfloat16 && !ops::supports_bfloat16_gemm())) continue;
    auto run = [&](size_t begin, size_t end, const std::map<int, mx::array>& packed, const std::optional<ops::FilterNetworks>& unpacked) {
      std::vector<int> at;
      for (size_t i = begin; i <= end; ++i) at.push_back(offsets[i] - offsets[begin]);
      return block->varlen(mx::astype(mx::slice(rows, {offsets[begin], 0}, {offsets[end], m.H}), dtype), at, packed, unpacked);
    };
    std::map<int, mx::array> packed;
    for (int length : lengths) {
      const int L = ops::varlen_filter_length(length, m.L);
      if (!packed.contains(L)) packed.emplace(L, block->pack_filters(cut(L), dtype));
    }
    const auto all = run(0, lengths.size(), packed, {}), short_ones = run(2, lengths.size(), packed, {});
    EXPECT_TRUE(mx::array_equal(run(0, lengths.size(), {}, networks), all).item<bool>());
    EXPECT_TRUE(mx::array_equal(run(0, lengths.size(), {{8, packed.at(8)}}, networks), all).item<bool>());
    EXPECT_TRUE(mx::array_equal(short_ones, mx::slice(all, {offsets[2], 0}, all.shape())).item<bool>());
    for (size_t i = 0; i < 8; ++i) {
      const int L = ops::varlen_filter_length(lengths[i], m.L);
      const auto alone = run(i, i + 1, {{L, packed.at(L)}}, {});
      EXPECT_TRUE(mx::array_equal(alone, mx::slice(all, {offsets[i], 0}, {offsets[i + 1], m.H})).item<bool>()) << lengths[i];
    }
    EXPECT_THROW(run(0, 2, {{8, packed.at(8)}}, {}), Error);
  }
}

TEST(PackedMixerBlock, RowsEqualTheMixer) {
  if (!testing_ops::has_cpu_kernels()) GTEST_SKIP() << "a CPU kernel";
  for (const int n : {1, 5, 33, 64}) {
    const Mixer m{1, n, 48, true, true};
    const auto weights = weights_of(m.H);
    const auto filters = filters_of(m);
    const auto block = ops::pack_mixer_block(weights, m.residual);
    const auto u = random({1, n, m.H}, 8);
    const auto rows = block->varlen(mx::squeeze(u, 0), std::vector<int>{0, n}, {{n, block->pack_filters(filters, mx::float32)}}, {});
    expect_near(mx::expand_dims(rows, 0), ops::mixer_block_fallback(u, weights, filters), 1e-5);
  }
}

// The filters for shorter sequences.
ops::MixerFilters first_rows_of(ops::MixerFilters f, int rows) {
  auto cut = [&](const mx::array& k) { return mx::slice(k, {0, 0}, {rows, k.shape(1)}); };
  f.k = cut(f.k);
  for (auto* k : {&f.k_rev, &f.k2, &f.k2_rev}) {
    if (*k) *k = cut(**k);
  }
  return f;
}

// On any device that has a kernel for them. What is in unused rows does not matter.
TEST(PackedMixerBlock, SequencesMayHaveUnusedRowsBehindThem) {
  for (const auto& [bidirectional, residual] : {std::pair(true, true), std::pair(true, false), std::pair(false, true)}) {
    const Mixer m{1, 2500, 48, bidirectional, residual};
    const auto filters = filters_of(m);
    for (const auto dtype : {mx::float32, mx::bfloat16}) {
      auto weights = weights_of(m.H, dtype);
      const auto block = ops::pack_mixer_block(weights, residual);
      if (!block || !block->supports_varlen()) continue;
      if (dtype == mx::bfloat16 && testing_ops::has_cpu_kernels() && !ops::supports_bfloat16_gemm()) continue;
      for (auto* w : {&weights.in_weight, &weights.out_weight}) w->values = mx::astype(w->values, mx::float32);
      std::vector<int> lengths{2500, 2047, 1024, 513, 512, 300, 129, 128, 127, 33, 8, 3, 1, 0}, begins{0};
      std::map<int, mx::array> packed;
      for (const int n : lengths) {
        begins.push_back(begins.back() + (n + 7) / 8 * 8);
        const int L = block->filter_length(n, m.L);
        if (!packed.contains(L)) packed.emplace(L, block->pack_filters(first_rows_of(filters, L), dtype));
      }
      const ops::CuSeqlens sequences(begins, lengths);
      auto clean = random({begins.back(), m.H}, 8, dtype), dirty = clean;
      for (size_t b = 0; b < lengths.size(); ++b) {
        const int end = begins[b] + lengths[b], next = begins[b + 1];
        if (end < next) dirty = mx::slice_update(dirty, mx::full({next - end, m.H}, NAN, dtype), mx::Shape{end, 0}, mx::Shape{next, m.H});
      }
      const auto y = block->varlen(clean, sequences, packed, {}), again = block->varlen(dirty, sequences, packed, {});
      for (size_t b = 0; b < lengths.size(); ++b) {
        SCOPED_TRACE(lengths[b]);
        if (lengths[b] == 0) continue;
        auto own = [&](const mx::array& a) { return mx::slice(a, {begins[b], 0}, {begins[b] + lengths[b], m.H}); };
        const auto u = mx::expand_dims(mx::astype(own(clean), mx::float32), 0);
        const auto expected = mx::squeeze(ops::mixer_block_fallback(u, weights, first_rows_of(filters, lengths[b])), 0);
        expect_near(mx::astype(own(y), mx::float32), expected, dtype == mx::float32 ? 3e-5 : 3e-2);
        EXPECT_TRUE(mx::array_equal(own(again), own(y)).item<bool>());
      }
    }
  }
}

TEST(PackedMixerBlock, FirstRowsAreThoseOfAllRows) {
  if (!testing_ops::has_cpu_kernels()) GTEST_SKIP() << "a CPU kernel";
  const std::vector<int> lengths{7, 300, 1, 129, 2, 64, 128, 30, 31, 32, 33, 126, 127};
  for (const auto& [bidirectional, residual] : {std::pair(true, true), std::pair(true, false), std::pair(false, true)}) {
    const Mixer m{1, 300, 64, bidirectional, residual};
    const auto filters = filters_of(m);
    for (const auto& [weights, dtype] :
         {std::pair(mx::float32, mx::float32), std::pair(mx::bfloat16, mx::bfloat16), std::pair(mx::int8, mx::float32)}) {
      const auto block = ops::pack_mixer_block(weights_of(m.H, weights), residual);
      if (!block || (dtype == mx::bfloat16 && !ops::supports_bfloat16_gemm())) continue;
      const std::map<int, ops::FirstRowFilters> first{{m.L, ops::first_row_filters(filters)}};
      std::vector<mx::array> inputs, alone;
      std::vector<int> offsets{0};
      for (const int n : lengths) {
        inputs.push_back(random({n, m.H}, n, dtype));
        offsets.push_back(offsets.back() + n);
        alone.push_back(block->first(inputs.back(), std::vector<int>{0, n}, first));
        const auto u = mx::expand_dims(inputs.back(), 0);
        const auto all = (*block)(u, block->pack_filters(first_rows_of(filters, n), dtype));
        const auto expected = mx::slice(mx::squeeze(all, 0), {0, 0}, {1, m.H});
        expect_near(mx::astype(alone.back(), mx::float32), mx::astype(expected, mx::float32), weights == mx::float32 ? 1e-5 : 3e-2);
      }
      const auto together = block->first(mx::concatenate(inputs, 0), offsets, first);
      EXPECT_TRUE(mx::array_equal(together, mx::concatenate(alone, 0)).item<bool>());
      EXPECT_THROW(block->first(mx::concatenate(inputs, 0), offsets, {{128, first.at(m.L)}}), Error);
      EXPECT_THROW(block->first(inputs[0], std::vector<int>{0, 0, 7}, first), Error);
    }
  }
}

}  // namespace
}  // namespace m2bert
