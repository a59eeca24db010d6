#include "m2bert/data/epoch_sampler.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "m2bert/random.h"
#include "tests/support/scratch.h"

namespace m2bert::data {
namespace {

std::vector<SampleRef> all_of(const EpochSampler& order) {
  std::vector<SampleRef> refs;
  for (size_t block = 0; block < order.blocks(); ++block) {
    const auto part = order.refs(block);
    EXPECT_EQ(order.begin(block), refs.size());
    refs.insert(refs.end(), part.begin(), part.end());
  }
  EXPECT_EQ(refs.size(), order.samples());
  return refs;
}

std::map<std::pair<uint32_t, uint32_t>, int> times(const std::vector<SampleRef>& refs) {
  std::map<std::pair<uint32_t, uint32_t>, int> counts;
  for (const SampleRef& ref : refs) ++counts[{ref.shard, ref.sample}];
  return counts;
}

TEST(Random, DependsOnItsKeyOnly) {
  Random a{1, 2, 3}, b{1, 2, 3};
  for (int i = 0; i < 100; ++i) EXPECT_EQ(a.next(), b.next());
  std::set<uint64_t> first;
  for (uint64_t x = 0; x < 30; ++x)
    for (uint64_t y = 0; y < 30; ++y) first.insert(Random{x, y}.next());
  first.insert(Random{0}.next());
  first.insert(Random{0, 0, 0}.next());
  EXPECT_EQ(first.size(), 902u);
}

// SplitMix64's published values. A resumed run depends on them: they must not change between releases.
TEST(Random, KnownValues) {
  Random random(std::initializer_list<uint64_t>{});
  EXPECT_EQ(random.next(), 0xE220A8397B1DCDAFu);
  EXPECT_EQ(random.next(), 0x6E789E6AA1B965F4u);
  EXPECT_EQ(random.next(), 0x06C45D188009454Fu);
}

TEST(Random, BelowIsUniform) {
  Random random{5};
  std::vector<int> counts(7);
  for (int i = 0; i < 70000; ++i) ++counts[random.below(7)];
  for (const int count : counts) EXPECT_NEAR(count, 10000, 500);
  double sum = 0;
  for (int i = 0; i < 10000; ++i) {
    const double value = random.uniform();
    ASSERT_TRUE(value >= 0 && value < 1);
    sum += value;
  }
  EXPECT_NEAR(sum / 10000, 0.5, 0.02);
}

TEST(EpochSampler, WithoutShuffleInTheOrderOfTheData) {
  const EpochSampler order({{{2, 0, 1}, 3}, {{2}, 4}}, {.block = 2}, 9);
  EXPECT_EQ(all_of(order), (std::vector<SampleRef>{{0, 0}, {0, 1}, {2, 0}, {3, 0}, {3, 1}, {3, 0}, {3, 1}}));
  EXPECT_EQ(order.block_of(0), 0u);
  EXPECT_EQ(order.block_of(6), order.blocks() - 1);
  EXPECT_TRUE(test::has(test::error_of([&] { (void)order.block_of(7); }), "there is none at 7"));
}

TEST(EpochSampler, ShufflesUniformly) {
  std::vector<int> counts(10);
  for (uint64_t epoch = 0; epoch < 10000; ++epoch) {
    const EpochSampler order({{{4, 6}, 10}}, {.shuffle = true, .seed = 1}, epoch);
    const auto refs = order.refs(0);
    ++counts[static_cast<size_t>(std::find(refs.begin(), refs.end(), SampleRef{1, 3}) - refs.begin())];
  }
  for (const int count : counts) EXPECT_NEAR(count, 1000, 150);
}

TEST(EpochSampler, BlocksShuffleWholeShards) {
  const EpochSampler order({{std::vector<uint64_t>(40, 25), 1000}}, {.shuffle = true, .seed = 3, .block = 100}, 0);
  ASSERT_EQ(order.blocks(), 10u);
  std::set<uint32_t> seen;
  for (size_t block = 0; block < 10; ++block) {
    const auto shards = order.shards(block);
    EXPECT_EQ(shards.size(), 4u);
    for (const uint32_t shard : shards) EXPECT_TRUE(seen.insert(shard).second);
    int changes = 0;
    const auto refs = order.refs(block);
    for (size_t i = 1; i < refs.size(); ++i) changes += refs[i].shard != refs[i - 1].shard ? 1 : 0;
    EXPECT_GT(changes, 50);
  }
}

TEST(EpochSampler, TheWholeEpochInOneBlock) {
  const EpochSampler order({{std::vector<uint64_t>(40, 25), 1000}}, {.shuffle = true, .block = UINT64_MAX}, 0);
  EXPECT_EQ(order.blocks(), 1u);
  EXPECT_EQ(times(order.refs(0)).size(), 1000u);
}

TEST(EpochSampler, TooManyPassesAreAnError) {
  EXPECT_TRUE(test::has(test::error_of([] { EpochSampler({{{1}, uint64_t{1} << 40}}, {}, 0); }), "too long to be ordered"));
}

// For any data every sample is taken as often as its stream says, and the same epoch has the same order again.
RC_GTEST_PROP(EpochSamplerProperty, TakesEachSampleAsOftenAsItsStreamSays, ()) {
  std::vector<StreamSamples> streams;
  uint64_t chosen = 0;
  for (int i = 0; i < *rc::gen::inRange(1, 4); ++i) {
    StreamSamples stream{.shards = *rc::gen::container<std::vector<uint64_t>>(rc::gen::inRange<uint64_t>(0, 40))};
    uint64_t sum = 0;
    for (const uint64_t samples : stream.shards) sum += samples;
    stream.chosen = sum == 0 ? 0 : *rc::gen::inRange<uint64_t>(0, 3 * sum + 1);
    chosen += stream.chosen;
    streams.push_back(stream);
  }
  SamplerOptions options{
      .shuffle = *rc::gen::arbitrary<bool>(), .seed = *rc::gen::inRange<uint64_t>(0, 100), .block = *rc::gen::inRange<uint64_t>(1, 60)};
  const EpochSampler order(streams, options, 5);
  const auto refs = all_of(order);
  RC_ASSERT(refs.size() == chosen);
  auto counts = times(refs);
  uint32_t shard = 0;
  for (const StreamSamples& stream : streams) {
    uint64_t sum = 0;
    for (const uint64_t samples : stream.shards) sum += samples;
    for (const uint64_t samples : stream.shards) {
      for (uint32_t sample = 0; sample < samples; ++sample) {
        const auto found = static_cast<uint64_t>(counts[{shard, sample}]);
        RC_ASSERT(found == stream.chosen / sum || found == stream.chosen / sum + (stream.chosen % sum > 0 ? 1 : 0));
      }
      ++shard;
    }
  }
  RC_ASSERT(all_of(EpochSampler(streams, options, 5)) == refs);
  RC_ASSERT(std::all_of(refs.begin(), refs.end(), [&](const SampleRef& ref) { return ref.shard < shard; }));
  for (uint64_t at = 0; at < refs.size(); at += 7) {
    const size_t block = order.block_of(at);
    RC_ASSERT(order.begin(block) <= at && at < order.begin(block + 1));
    RC_ASSERT(order.refs(block)[at - order.begin(block)] == refs[at]);
  }
}

}  // namespace
}  // namespace m2bert::data
