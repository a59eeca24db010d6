#include "m2bert/data/retrieval_batches.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tests/support/scratch.h"

namespace m2bert::data {
namespace {

using test::error_of;
using test::has;

TextRows text_rows(size_t max_length = 8, bool pad_to_max = true) {
  return {.tokenizer = tokenize::WordPiece::builtin(), .max_length = max_length, .max_query_length = max_length, .pad_to_max = pad_to_max};
}

// Samples "a i" -> "b i", with negatives "c i", "d i".
RetrievalData numbered(int samples) {
  RetrievalData data;
  for (int i = 0; i < samples; ++i) {
    const std::string n = std::to_string(i);
    data.add("a " + n, {"b " + n, "c " + n, "d " + n});
  }
  return data;
}

std::vector<std::vector<int32_t>> epoch(RetrievalBatches& source, uint64_t number) {
  source.seek({number, 0});
  std::vector<std::vector<int32_t>> all;
  while (auto batch = source.next()) all.push_back(batch->labels);
  return all;
}

TEST(TextRowsTest, PadsPromptsAndTruncates) {
  auto rows = text_rows();
  rows.query_prompt = "query: ";
  rows.max_query_length = 5;
  const std::vector<std::string_view> queries{"one two three four"}, passages{"one", "one two three four five six seven eight"};
  const auto batch = rows.rows(queries, passages);
  EXPECT_EQ(batch.rows, 3);
  EXPECT_EQ(batch.length, 8);
  const auto& t = rows.tokenizer;
  const std::vector<int32_t> first(batch.input_ids.begin(), batch.input_ids.begin() + 8);
  EXPECT_EQ(first, (std::vector<int32_t>{t.cls_id(), t.id("query"), t.id(":"), t.id("one"), t.sep_id(), 0, 0, 0}));
  EXPECT_EQ(batch.attention_mask[4], 1);
  EXPECT_EQ(batch.attention_mask[5], 0);
  EXPECT_EQ(std::count(batch.attention_mask.begin() + 8, batch.attention_mask.begin() + 16, 1), 3);
  EXPECT_EQ(std::count(batch.attention_mask.begin() + 16, batch.attention_mask.end(), 1), 8);
  rows.pad_to_max = false;
  rows.max_length = 500;
  EXPECT_EQ(rows.rows(queries, passages).length, 10);
}

TEST(RetrievalBatchesTest, RowsAreColumnByColumn) {
  auto data = numbered(3);
  RetrievalBatches source(data, "x", text_rows(), {.negatives = 1, .shuffle = false}, {2});
  EXPECT_EQ(source.rows_per_sample(), 3);
  const auto batch = *source.next();
  EXPECT_EQ(batch.rows, 6);
  auto number = [&](const char* text) { return int32_t(data.add_text(text)); };
  EXPECT_EQ(batch.labels, (std::vector<int32_t>{number("a 0"), number("a 1"), number("b 0"), number("b 1"), number("c 0"), number("c 1")}));
  EXPECT_TRUE(batch.targets.empty());
  EXPECT_EQ(source.next()->rows, 3);
  EXPECT_FALSE(source.next());
}

TEST(RetrievalBatchesTest, LabelsAndScoresAreTargets) {
  RetrievalData data;
  data.add("a", {"b", "c"}, {3, 1});
  data.add("d", {"e", "f"}, {5, 2});
  RetrievalBatches source(data, "x", text_rows(), {.negatives = 1, .shuffle = false}, {2});
  EXPECT_EQ(source.next()->targets, (std::vector<float>{0, 0, 3, 5, 1, 2}));
  RetrievalData pairs;
  pairs.add("a", {"b"}, {0.5f});
  RetrievalBatches labels(pairs, "x", text_rows(), {}, {1});
  EXPECT_EQ(labels.next()->targets, (std::vector<float>{0, 0.5f}));
}

TEST(RetrievalBatchesTest, OrderFollowsFromSeedAndEpoch) {
  auto data = numbered(20);
  RetrievalBatches source(data, "x", text_rows(), {.negatives = 1}, {4}), again(data, "x", text_rows(), {.negatives = 1}, {4});
  const auto first = epoch(source, 0), second = epoch(source, 1);
  EXPECT_NE(first, second);
  EXPECT_EQ(epoch(again, 1), second);
  again.seek({1, 8});
  EXPECT_EQ(again.next()->labels, second[2]);
  std::set<int32_t> queries, negatives;
  for (const auto& batch : first) {
    queries.insert(batch.begin(), batch.begin() + 4);
    negatives.insert(batch.begin() + 8, batch.end());
  }
  EXPECT_EQ(queries.size(), 20);
  bool drawn_anew = false;  // one of two negatives
  for (const auto& batch : second)
    for (auto it = batch.begin() + 8; it != batch.end(); ++it) drawn_anew |= !negatives.contains(*it);
  EXPECT_TRUE(drawn_anew);
}

TEST(RetrievalBatchesTest, RanksShareABatch) {
  auto data = numbered(10);
  const RetrievalBatchOptions options{.negatives = 0};
  RetrievalBatches whole(data, "x", text_rows(), options, {4}), one(data, "x", text_rows(), options, {4, 0, 2}),
      two(data, "x", text_rows(), options, {4, 1, 2});
  for (int i = 0; i < 3; ++i) {
    const auto all = *whole.next(), a = *one.next(), b = *two.next();
    EXPECT_EQ(a.rows + b.rows, all.rows);
    std::vector<int32_t> queries(a.labels.begin(), a.labels.begin() + a.rows / 2);
    queries.insert(queries.end(), b.labels.begin(), b.labels.begin() + b.rows / 2);
    EXPECT_EQ(queries, std::vector<int32_t>(all.labels.begin(), all.labels.begin() + all.rows / 2));
  }
  EXPECT_TRUE(has(error_of([&] { RetrievalBatches(data, "x", text_rows(), options, {5, 0, 2}); }), "cannot be shared evenly"));
}

TEST(RetrievalBatchesTest, NoTextTwiceInABatch) {
  RetrievalData data;
  for (int i = 0; i < 12; ++i) data.add("q" + std::to_string(i % 4), {"p" + std::to_string(i)});
  auto twice = [&](bool no_duplicates) {
    RetrievalBatches source(data, "x", text_rows(), {.no_duplicates = no_duplicates}, {3});
    int batches = 0, repeated = 0;
    std::set<int32_t> passages;
    for (const auto& batch : epoch(source, 0)) {
      ++batches;
      repeated += std::set<int32_t>(batch.begin(), batch.end()).size() < batch.size();
      passages.insert(batch.begin() + 3, batch.end());
    }
    EXPECT_EQ(batches, 4);
    EXPECT_GE(passages.size(), 10);
    return repeated;
  };
  EXPECT_EQ(twice(true), 0);
  EXPECT_GT(twice(false), 0);
  RetrievalBatches too_large(data, "x", text_rows(), {}, {5});
  EXPECT_TRUE(has(error_of([&] { (void)too_large.next(); }), "no 5 samples without a common text"));
}

TEST(RetrievalBatchesTest, ErrorsNameTheData) {
  auto data = numbered(2);
  EXPECT_TRUE(has(error_of([&] { RetrievalBatches(data, "my.csv", text_rows(), {.negatives = 3}, {1}); }),
                  "my.csv: a sample has 2 negatives, this run wants 3"));
  EXPECT_TRUE(has(error_of([&] { RetrievalBatches(data, "my.csv", text_rows(), {}, {3}); }), "2 samples, too few for a batch of 3"));
}

TEST(TextBatchesTest, QueriesThenPassagesOverAllRanks) {
  auto places = [](int rank, int ranks) {
    TextBatches source({"a", "b", "c"}, {"d", "e", "f", "g"}, text_rows(), {4, rank, ranks});
    std::vector<int32_t> all;
    source.seek({});
    while (auto batch = source.next()) all.insert(all.end(), batch->labels.begin(), batch->labels.end());
    return all;
  };
  EXPECT_EQ(places(0, 1), (std::vector<int32_t>{0, 1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(places(0, 2), (std::vector<int32_t>{0, 1, 4, 5}));
  EXPECT_EQ(places(1, 2), (std::vector<int32_t>{2, 3, 6}));
}

}  // namespace
}  // namespace m2bert::data
