// Model::pack: the same results as without it, and never stale ones.
#include <gtest/gtest.h>

#include "m2bert/error.h"
#include "m2bert/models/cast.h"
#include "m2bert/models/model.h"
#include "m2bert/models/packed/filter_cache.h"
#include "m2bert/ops/adamw.h"
#include "m2bert/ops/backend/backend.h"
#include "tests/support/tiny_config.h"

namespace m2bert::models {
namespace {

Config with_alibi() {
  auto c = test::tiny_m2_config();
  c.monarch_mixer_sequence_mixing = false;
  c.use_glu_mlp = true;
  return c;
}

// 24 channels have no kernel for packed weights: the mixer then runs from cached filters, as on a device without kernels.
Config of_width_24() {
  auto c = test::tiny_m2_config();
  c.hidden_size = 24;
  return c;
}

Config named(const std::string& kind) {
  if (kind == "alibi") return with_alibi();
  if (kind == "mixer_of_width_24") return of_width_24();
  return kind == "bert" ? test::tiny_bert_config() : test::tiny_m2_config();
}

Inputs some_inputs(int B = 3, int L = 20) {
  const auto ids = mx::random::randint(5, 80, {B, L}, mx::int32, mx::random::key(7));
  const auto mask = mx::astype(mx::less(mx::arange(L), mx::array({L, L - 7, 4}, {B, 1})), mx::int32);
  return {ids, mask, std::nullopt};
}

float largest(const mx::array& a) { return mx::max(mx::abs(mx::astype(a, mx::float32))).item<float>(); }

mx::array& array_named(Model& model, const std::string& end) {
  for (auto& a : nn::named_arrays(model)) {
    if (a.name.ends_with(end)) return *a.array;
  }
  fail("no array is called ", end);
}

mx::array embed(const Model& model) {
  auto y = model.embedding(some_inputs(), Pooling::cls, false);
  y.eval();
  return y;
}

class Packed : public ::testing::TestWithParam<const char*> {
 protected:
  Packed() : model_(named(GetParam()), Head::embedding) {
    ops::enable_kernels(std::string(GetParam()) != "mixer_without_kernels");
    model_.init(3, true);
  }
  ~Packed() override { ops::enable_kernels(true); }
  Model model_;
};

TEST_P(Packed, EqualsTheModelItself) {
  const auto plain = embed(model_);
  model_.pack();
  EXPECT_TRUE(model_.is_packed());
  EXPECT_LT(largest(embed(model_) - plain), 2e-5f);
  EXPECT_LT(largest(embed(model_) - plain), 2e-5f);  // from the filter cache
  model_.unpack();
  EXPECT_EQ(largest(embed(model_) - plain), 0);
}

TEST_P(Packed, IsUnpackedBeforeItsWeightsChange) {
  model_.pack();
  const auto before = embed(model_);
  for (const char* name :
       {"layer.0.mlp.wo.weight", "output.dense.weight", "in_linear.weight", "Wqkv.weight", "filter_fn.implicit_filter.6.weight"}) {
    const auto arrays = nn::named_arrays(model_);
    if (std::none_of(arrays.begin(), arrays.end(), [&](const auto& a) { return a.name.ends_with(name); })) continue;
    model_.pack();
    auto& w = array_named(model_, name);
    EXPECT_FALSE(model_.is_packed());
    const auto old = w;
    w = w * mx::array(2.0f);
    EXPECT_GT(largest(embed(model_) - before), 1e-6f) << name;
    w = old;
  }
}

TEST_P(Packed, NewRandomWeightsUnpack) {
  model_.pack();
  const auto before = embed(model_);
  model_.init(4, true);
  EXPECT_FALSE(model_.is_packed());
  EXPECT_GT(largest(embed(model_) - before), 1e-3f);
}

TEST_P(Packed, HasTheGradientsOfTheModelItself) {
  auto loss = [&] { return mx::sum(model_.embedding(some_inputs(), Pooling::cls, false)); };
  const auto expected = nn::value_and_grad(nn::parameters(model_), loss);
  model_.pack();
  mx::eval(loss());
  const auto found = nn::value_and_grad(nn::parameters(model_), loss);
  ASSERT_EQ(found.grads.size(), expected.grads.size());
  // Without its kernels a GPU adds up gradients of embeddings in any order.
  const float tolerance = std::string(GetParam()) == "mixer_without_kernels" && mx::default_device() == mx::Device::gpu ? 1e-6f : 0;
  for (size_t i = 0; i < found.grads.size(); ++i) EXPECT_LE(largest(found.grads[i] - expected.grads[i]), tolerance);
}

TEST_P(Packed, PassesWithDropoutOrHooksUseTheWeightsThemselves) {
  auto training = [&] {
    auto pass = nn::Pass::training(mx::random::key(5));
    return model_.hidden_states(some_inputs(), pass);
  };
  int hooks = 0;
  auto hooked = [&] {
    nn::Pass pass;
    pass.on_hook = [&](const std::string&, const mx::array& x) { return ++hooks, x; };
    return model_.hidden_states(some_inputs(), pass);
  };
  const auto trained = training(), seen = hooked();
  const int expected = hooks;
  model_.pack();
  EXPECT_EQ(largest(training() - trained), 0);
  EXPECT_EQ(largest(hooked() - seen), 0);
  EXPECT_EQ(hooks, 2 * expected);
}

// After an evaluation during training no copy of a weight is left, so the next update writes in place.
TEST_P(Packed, LeavesNoCopyBehind) {
  if (!ops::has_kernels({}) || mx::default_device() == mx::Device(mx::Device::gpu)) GTEST_SKIP() << "updates are in place on the CPU";
  for (auto& a : nn::named_arrays(model_)) *a.array = mx::contiguous(*a.array);
  for (auto& a : nn::named_arrays(model_)) a.array->eval();
  {
    const ScopedCast cast(model_, mx::bfloat16);
    const PackedScope packed(model_);
    embed(model_);
  }
  EXPECT_FALSE(model_.is_packed());
  for (auto& p : nn::parameters(model_)) {
    if (p.array->dtype() != mx::float32) continue;
    const auto* before = p.array->data<float>();
    auto gradient = mx::ones_like(*p.array), m = mx::zeros_like(*p.array), v = mx::zeros_like(*p.array);
    ops::adamw_update({{p.array, &gradient, &m, &v, 1e-3, 0}}, {});
    EXPECT_EQ(p.array->data<float>(), before) << p.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Packed, ::testing::Values("mixer", "mixer_of_width_24", "mixer_without_kernels", "alibi", "bert"));

TEST(FilterCache, SmallFiltersAreAlwaysAdmittedAndLargeOnesTheSecondTime) {
  constexpr size_t small = 1 << 20, large = size_t(1) << 28;
  packed::FilterCache<int> cache(large);
  auto batch = [&](int L, size_t bytes) {
    cache.begin_batch({{L, mx::float32}});
    EXPECT_EQ(cache.find({L, mx::float32}), nullptr);
    return cache.admits({L, mx::float32}, bytes);
  };
  EXPECT_TRUE(batch(128, small));
  EXPECT_FALSE(batch(8192, large));
  EXPECT_TRUE(batch(8192, large));
  EXPECT_FALSE(batch(4096, large));
  EXPECT_FALSE(batch(8192, large));
  EXPECT_FALSE(batch(8192, large + 1));
}

TEST(FilterCache, KeepsAllLengthsOfABatch) {
  constexpr size_t large = packed::FilterCache<int>::kSmall + 1;
  packed::FilterCache<int> cache(4 * large);
  int computed = 0;
  auto batch = [&](const std::vector<int>& lengths) {
    std::vector<packed::FilterKey> keys;
    keys.reserve(lengths.size());
    for (const int L : lengths) keys.push_back({L, mx::float32});
    cache.begin_batch(keys);
    computed = 0;
    for (const auto& key : keys) {
      if (cache.find(key)) continue;
      ++computed;
      if (!cache.admits(key, large)) continue;
      cache.make_room(large);
      cache.add(key, large, key.length);
    }
    return computed;
  };
  EXPECT_EQ(batch({3, 2, 1}), 3);
  EXPECT_EQ(cache.size(), 0u);
  EXPECT_EQ(batch({3, 2, 1}), 3);
  EXPECT_EQ(batch({3, 2, 1}), 0);
  EXPECT_EQ(cache.size(), 3 * large);
  EXPECT_EQ(batch({1, 3}), 0);
  EXPECT_EQ(batch({5, 1}), 1);
  EXPECT_EQ(batch({5, 1}), 1);
  EXPECT_EQ(cache.size(), 2 * large);  // without 2 and 3
  for (int i = 0; i < 3; ++i) batch({1, 2, 3, 4, 5, 6});
  EXPECT_EQ(cache.size(), 4 * large);  // of six
}

TEST(FilterCache, TellsDtypesApartAndDropsTheLeastRecentlyUsed) {
  constexpr size_t third = packed::FilterCache<int>::kSmall / 3;
  packed::FilterCache<int> cache(third);
  auto add = [&](int L, mx::Dtype dtype, int value) {
    cache.make_room(third);
    cache.add({L, dtype}, third, value);
  };
  add(1, mx::float32, 10);
  add(1, mx::bfloat16, 11);
  add(2, mx::float32, 20);
  EXPECT_EQ(*cache.find({1, mx::float32}), 10);
  EXPECT_EQ(*cache.find({1, mx::bfloat16}), 11);
  EXPECT_EQ(cache.find({3, mx::float32}), nullptr);
  add(3, mx::float32, 30);  // evicts length 2
  EXPECT_EQ(cache.find({2, mx::float32}), nullptr);
  EXPECT_EQ(*cache.find({1, mx::float32}), 10);
  EXPECT_LE(cache.size(), packed::FilterCache<int>::kSmall);
}

}  // namespace
}  // namespace m2bert::models
