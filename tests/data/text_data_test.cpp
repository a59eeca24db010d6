#include "m2bert/data/text_data.h"

#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "mds_case.h"

namespace m2bert::data {
namespace {

using test::error_of;
using test::has;
using test::Scratch;

constexpr int32_t kFirst = 2000;

// Token samples [2000 + i, 2000 + i, 2000 + i] in many small shards.
class TextDataTest : public ::testing::Test {
 protected:
  TextDataTest() {
    std::vector<std::vector<int64_t>> samples;
    for (int64_t i = 0; i < kSamples; ++i) samples.push_back({kFirst + i, kFirst + i, kFirst + i});
    index = test::write_tokens(scratch / "d", samples, {.compression = "zstd", .hashes = {"xxh64"}, .size_limit = 1000});
    config.streams.push_back({{.local = (scratch / "d").string()}, {.name = "d"}});
    config.max_seq_len = 4;
    config.shuffle = true;
    config.shuffle_block_size = 90;
    config.mlm_probability = 0.0;
  }

  std::unique_ptr<BatchSource> open(const BatchShape& shape) const { return open_text_data(config, tokenizer, shape); }
  // The numbers of the samples in order, of at most that many batches.
  static std::vector<int> take(BatchSource& source, int batches = 1 << 20) {
    std::vector<int> numbers;
    for (int i = 0; i < batches; ++i) {
      const auto batch = source.next();
      if (!batch) break;
      EXPECT_EQ(batch->input_ids.size(), static_cast<size_t>(batch->rows) * 4);
      for (int row = 0; row < batch->rows; ++row) numbers.push_back(batch->input_ids[static_cast<size_t>(row) * 4] - kFirst);
    }
    return numbers;
  }
  std::vector<int> whole_order(uint64_t epoch = 0) const {
    const auto source = open({.global_batch = 50});
    source->seek({epoch, 0});
    return take(*source);
  }

  static constexpr int kSamples = 500;
  Scratch scratch;
  MdsIndex index;
  TextDataConfig config;
  tokenize::WordPiece tokenizer = tokenize::WordPiece::builtin();
};

TEST_F(TextDataTest, EveryEpochHasEachSampleOnceInAnotherOrder) {
  std::set<std::vector<int>> orders;
  for (uint64_t epoch = 0; epoch < 3; ++epoch) {
    std::vector<int> order = whole_order(epoch);
    orders.insert(order);
    EXPECT_EQ(whole_order(epoch), order);
    std::sort(order.begin(), order.end());
    std::vector<int> all(kSamples);
    std::iota(all.begin(), all.end(), 0);
    EXPECT_EQ(order, all);
  }
  EXPECT_EQ(orders.size(), 3u);
}

TEST_F(TextDataTest, TheOrderDependsOnNeitherThreadsNorBatchesNorRanks) {
  const std::vector<int> order = whole_order();
  for (const int workers : {0, 1, 4}) {
    config.num_workers = workers;
    for (const int global_batch : {1, 7, 64, 1000}) EXPECT_EQ(take(*open({.global_batch = global_batch})), order);
    std::vector<std::unique_ptr<BatchSource>> ranks;
    for (int rank = 0; rank < 3; ++rank) ranks.push_back(open({.global_batch = 10, .rank = rank, .ranks = 3}));
    std::vector<int> joined;
    for (int step = 0; step < 50; ++step)
      for (auto& rank : ranks) {
        const auto part = take(*rank, 1);
        joined.insert(joined.end(), part.begin(), part.end());
      }
    EXPECT_EQ(joined, order);
    for (auto& rank : ranks) EXPECT_FALSE(rank->next());
  }
}

// Resumes several times with another batch size and number of ranks: no sample is lost or repeated.
TEST_F(TextDataTest, ResumesAnywhereWithOtherSizes) {
  const std::vector<int> order = whole_order(4);
  std::vector<int> seen;
  for (const auto& [global_batch, ranks, steps] : {std::tuple{33, 2, 3}, {8, 4, 11}, {100, 1, 1}, {7, 3, 1000}}) {
    const uint64_t consumed = seen.size();
    std::vector<std::unique_ptr<BatchSource>> sources;
    for (int rank = 0; rank < ranks; ++rank) {
      sources.push_back(open({.global_batch = global_batch, .rank = rank, .ranks = ranks}));
      sources.back()->seek({4, consumed});
    }
    for (int step = 0; step < steps; ++step)
      for (auto& source : sources) {
        const auto part = take(*source, 1);
        seen.insert(seen.end(), part.begin(), part.end());
      }
  }
  EXPECT_EQ(seen, order);
}

TEST_F(TextDataTest, SeeksBackAndForth) {
  const auto source = open({.global_batch = 20});
  const std::vector<int> order = whole_order(), later = whole_order(1);
  for (const uint64_t at : {uint64_t{480}, uint64_t{0}, uint64_t{123}}) {
    source->seek({0, at});
    EXPECT_EQ(take(*source), std::vector<int>(order.begin() + static_cast<std::ptrdiff_t>(at), order.end()));
  }
  source->seek({1, 0});
  EXPECT_EQ(take(*source), later);
  source->seek({1, kSamples});
  EXPECT_FALSE(source->next());
  EXPECT_TRUE(has(error_of([&] { source->seek({0, kSamples + 1}); }), "cannot go on after 501"));
  EXPECT_EQ(source->samples_per_epoch(), static_cast<uint64_t>(kSamples));
}

TEST_F(TextDataTest, TheLastBatch) {
  EXPECT_EQ(take(*open({.global_batch = 300})).size(), static_cast<size_t>(kSamples));
  // Fewer rows than ranks are left: a rank without rows still gets a batch.
  const auto last = open({.global_batch = 499, .rank = 0, .ranks = 2});
  EXPECT_EQ(last->next()->rows, 249);
  EXPECT_EQ(last->next()->rows, 0);
  EXPECT_FALSE(last->next());
  config.drop_last = true;
  EXPECT_EQ(take(*open({.global_batch = 300})).size(), 300u);
}

TEST_F(TextDataTest, RowsArePaddedAndMasksDependOnThePositionOnly) {
  const auto batch = open({.global_batch = 3})->next();
  EXPECT_EQ(batch->rows, 3);
  EXPECT_EQ(batch->length, 4);
  EXPECT_EQ(batch->input_ids[3], 0);
  EXPECT_EQ(batch->attention_mask, (std::vector<int32_t>{1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0}));
  EXPECT_EQ(batch->labels, std::vector<int32_t>(12, kNoLabel));
  EXPECT_TRUE(batch->token_type_ids.empty() && batch->sequence_ids.empty());
  config.mlm_probability = 0.5;
  const auto labels = [&](const BatchShape& shape, uint64_t epoch) {
    const auto source = open(shape);
    source->seek({epoch, 0});
    std::vector<int32_t> all;
    while (const auto each = source->next()) all.insert(all.end(), each->labels.begin(), each->labels.end());
    return all;
  };
  EXPECT_EQ(labels({.global_batch = 3}, 2), labels({.global_batch = 125}, 2));
  EXPECT_NE(labels({.global_batch = 3}, 2), labels({.global_batch = 3}, 3));
}

TEST_F(TextDataTest, DamagedShardsAreAnErrorOrASkip) {
  const std::vector<int> order = whole_order();
  const auto file = scratch / "d" / index.shards[1].packed->name;
  std::filesystem::remove(scratch / "d" / index.shards[1].raw.name);
  std::string content = test::content_of(file);
  content[content.size() / 2] ^= 0x55;
  test::overwrite(file, content);
  config.streams[0].data.validate_hash = "xxh64";
  EXPECT_TRUE(has(error_of([&] { take(*open({.global_batch = 50})); }), index.shards[1].packed->name));
  config.skip_bad = true;
  const auto source = open({.global_batch = 50});
  std::vector<int> expected;
  const int begin = static_cast<int>(index.shards[0].samples), end = begin + static_cast<int>(index.shards[1].samples);
  for (const int sample : order)
    if (sample < begin || sample >= end) expected.push_back(sample);
  EXPECT_EQ(take(*source), expected);
  EXPECT_EQ(source->skipped(), index.shards[1].samples);
}

TEST_F(TextDataTest, ABadSampleIsAnErrorOrASkip) {
  test::write_tokens(scratch / "bad", {{kFirst}, {1 << 30}, {kFirst + 2}});
  config.streams[0].data.local = (scratch / "bad").string();
  config.shuffle = false;
  EXPECT_TRUE(has(error_of([&] { take(*open({.global_batch = 2})); }), "sample 1, column tokens"));
  config.skip_bad = true;
  const auto source = open({.global_batch = 2});
  EXPECT_EQ(source->next()->rows, 1);
  EXPECT_EQ(source->next()->rows, 1);
  EXPECT_EQ(source->skipped(), 1u);
}

TEST_F(TextDataTest, NothingButBadSamplesIsAnError) {
  test::write_tokens(scratch / "bad", {{1 << 30}, {1 << 30}, {1 << 30}, {1 << 30}});
  config.streams[0].data.local = (scratch / "bad").string();
  config.skip_bad = true;
  for (const int workers : {0, 2})
    for (const BatchShape& shape : {BatchShape{.global_batch = 2}, {.global_batch = 4, .rank = 1, .ranks = 2}}) {
      config.num_workers = workers;
      const auto source = open(shape);
      const std::string error = error_of([&] { take(*source); });
      EXPECT_TRUE(has(error, "bad: no sample can be read, all 4 were left out (skip_bad); the last one: "));
      EXPECT_TRUE(has(error, "sample 3, column tokens"));
    }
  // One readable sample is enough, even if it belongs to another rank or to an earlier batch.
  test::write_tokens(scratch / "good", {{kFirst}, {1 << 30}});
  config.shuffle = false;
  config.streams[0].data.local = (scratch / "good").string();
  EXPECT_EQ(take(*open({.global_batch = 2, .rank = 1, .ranks = 2})), std::vector<int>{});
  const auto source = open({.global_batch = 1});
  source->seek({0, 1});
  EXPECT_EQ(source->next()->rows, 0);
  EXPECT_FALSE(source->next());
}

// Fetched shards are removed at the end of their block, and no shard is fetched before its block is near.
TEST_F(TextDataTest, FetchesAheadAndRemovesBehind) {
  config.streams[0].data = {.remote = (scratch / "d").string(), .local = (scratch / "copy").string(), .keep_raw = false};
  config.predownload = 0;
  config.num_workers = 0;
  const auto copies = [&] {
    size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(scratch / "copy"))
      count += entry.path().extension() == ".zstd" || entry.path().extension() == ".mds" ? 1 : 0;
    return count;
  };
  const auto source = open({.global_batch = 10});
  EXPECT_EQ(copies(), 0u);
  EXPECT_EQ(take(*source).size(), static_cast<size_t>(kSamples));
  EXPECT_EQ(copies(), 0u);  // decompressed in memory, and compressed files are not kept
}

TEST_F(TextDataTest, ProblemsAreFoundAtTheStart) {
  EXPECT_TRUE(has(error_of([&] { open({.global_batch = 0}); }), "at least 1 sample"));
  EXPECT_TRUE(has(error_of([&] { open({.global_batch = 1, .rank = 2, .ranks = 2}); }), "rank 2 of 2"));
  config.streams[0].data.local = (scratch / "none").string();
  EXPECT_TRUE(has(error_of([&] { open({}); }), "none: no such folder"));
  MdsWriter writer(scratch / "other", {.columns = {{"title", "str", {}}}});
  writer.write({std::string("a")});
  writer.finish();
  config.streams[0].data.local = (scratch / "other").string();
  EXPECT_TRUE(has(error_of([&] { open({}); }), "wants a column text or tokens; it has title"));
  test::write_tokens(scratch / "empty", {});
  config.streams[0].data.local = (scratch / "empty").string();
  EXPECT_TRUE(has(error_of([&] { open({}); }), "no samples"));
}

TEST_F(TextDataTest, StreamsAreMixed) {
  test::write_tokens(scratch / "e", {{kFirst + 10000}, {kFirst + 10001}});
  config.streams.push_back({{.local = (scratch / "e").string()}, {.name = "e", .repeat = 10}});
  const auto source = open({.global_batch = 16});
  EXPECT_EQ(source->samples_per_epoch(), 520u);
  const auto numbers = take(*source);
  EXPECT_EQ(std::count(numbers.begin(), numbers.end(), 10000), 10);
  EXPECT_EQ(std::count(numbers.begin(), numbers.end(), 10001), 10);
  EXPECT_EQ(numbers.size(), 520u);
}

}  // namespace
}  // namespace m2bert::data
