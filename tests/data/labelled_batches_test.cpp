#include "m2bert/data/labelled_batches.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "m2bert/error.h"

namespace m2bert::data {
namespace {

tokenize::WordPiece tokenizer() {
  return tokenize::WordPiece::from_vocabulary("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\nd\n", "vocab.txt");
}

LabelledData texts() {
  LabelledData data;
  data.name = "train.csv";
  data.texts = {"a", "b b", "c c c", "d d d d", "a b c d a"};
  data.label_names = {"even", "odd"};
  data.labels = {1, 0, 1, 0, 1};
  return data;
}

LabelledBatchOptions options(int global_batch, int length = 8) {
  LabelledBatchOptions o;
  o.shape.global_batch = global_batch;
  o.max_seq_len = length;
  return o;
}

std::vector<int32_t> labels_of_epoch(LabelledBatches& source, uint64_t epoch) {
  std::vector<int32_t> all;
  source.seek({epoch, 0});
  while (auto batch = source.next()) all.insert(all.end(), batch->labels.begin(), batch->labels.end());
  return all;
}

TEST(LabelledBatches, PadsToTheMaximum) {
  LabelledBatches source(texts(), tokenizer(), options(2, 5));
  auto batch = source.next();
  ASSERT_TRUE(batch);
  EXPECT_EQ(batch->rows, 2);
  EXPECT_EQ(batch->length, 5);
  EXPECT_EQ(batch->input_ids, (std::vector<int32_t>{2, 5, 3, 0, 0, 2, 6, 6, 3, 0}));
  EXPECT_EQ(batch->attention_mask, (std::vector<int32_t>{1, 1, 1, 0, 0, 1, 1, 1, 1, 0}));
  EXPECT_EQ(batch->token_type_ids, std::vector<int32_t>(10, 0));
  EXPECT_EQ(batch->labels, (std::vector<int32_t>{1, 0}));
  batch = source.next();
  EXPECT_EQ(batch->input_ids, (std::vector<int32_t>{2, 7, 7, 7, 3, 2, 8, 8, 8, 3}));  // d d d d is truncated
  batch = source.next();
  EXPECT_EQ(batch->rows, 1);
  EXPECT_FALSE(source.next());
  EXPECT_EQ(source.truncated(), 2U);
  EXPECT_EQ(source.samples_per_epoch(), 5U);
}

TEST(LabelledBatches, PadsToTheLongestOfABatch) {
  auto o = options(2);
  o.pad_to_longest = true;
  LabelledBatches source(texts(), tokenizer(), o);
  EXPECT_EQ(source.next()->length, 4);
  EXPECT_EQ(source.next()->length, 6);
  EXPECT_EQ(source.next()->length, 7);
  EXPECT_EQ(source.longest(), 7);
}

TEST(LabelledBatches, MarksTheSecondTextOfAPair) {
  auto data = texts();
  data.pairs = {"b", "a", "a", "a", "a"};
  auto batch = LabelledBatches(data, tokenizer(), options(1, 6)).next();
  EXPECT_EQ(batch->input_ids, (std::vector<int32_t>{2, 5, 3, 6, 3, 0}));
  EXPECT_EQ(batch->token_type_ids, (std::vector<int32_t>{0, 0, 0, 1, 1, 0}));
}

TEST(LabelledBatches, TargetsOfSeveralLabelsAndNumbers) {
  auto data = texts();
  data.kind = LabelKind::multi;
  data.labels.clear();
  data.label_names = {"x", "y", "z"};
  data.label_sets = {{0, 2}, {}, {1}, {0}, {0, 1, 2}};
  EXPECT_EQ(LabelledBatches(data, tokenizer(), options(3)).next()->targets, (std::vector<float>{1, 0, 1, 0, 0, 0, 0, 1, 0}));
  data.kind = LabelKind::number;
  data.label_names.clear();
  data.values = {0.5F, 1, 2, 3, 4};
  EXPECT_EQ(LabelledBatches(data, tokenizer(), options(2)).next()->targets, (std::vector<float>{0.5F, 1}));
}

TEST(LabelledBatches, ShufflesAnewInEachEpochAndSeeks) {
  LabelledData data;
  data.texts.assign(40, "a");
  data.labels.resize(40);
  std::iota(data.labels.begin(), data.labels.end(), 0);
  auto o = options(7);
  o.shuffle = true;
  LabelledBatches source(data, tokenizer(), o);
  const auto first = labels_of_epoch(source, 0), second = labels_of_epoch(source, 1);
  EXPECT_NE(first, data.labels);
  EXPECT_NE(first, second);
  EXPECT_TRUE(std::ranges::is_permutation(first, data.labels));
  EXPECT_EQ(labels_of_epoch(source, 0), first);
  source.seek({1, 14});
  EXPECT_EQ(source.next()->labels, std::vector<int32_t>(second.begin() + 14, second.begin() + 21));
  o.seed = 1;
  LabelledBatches other(data, tokenizer(), o);
  EXPECT_NE(labels_of_epoch(other, 0), first);
}

// Together the ranks see what one process sees, batch by batch.
TEST(LabelledBatches, RanksShareEachBatch) {
  std::vector<int32_t> gathered;
  std::vector<std::vector<int32_t>> shares(3);
  for (int rank = 0; rank < 3; ++rank) {
    auto o = options(4);
    o.shape = {4, rank, 3};
    LabelledBatches source(texts(), tokenizer(), o);
    int batches = 0;
    while (auto batch = source.next()) {
      ++batches;
      for (int i = 0; i < batch->rows; ++i) shares[size_t(rank)].push_back(batch->input_ids[size_t(i * batch->length + 1)]);
    }
    EXPECT_EQ(batches, 2);
    gathered.insert(gathered.end(), shares[size_t(rank)].begin(), shares[size_t(rank)].end());
  }
  EXPECT_EQ(shares[0], (std::vector<int32_t>{5}));
  const auto order = gathered_order(5, {4, 0, 3});
  ASSERT_EQ(gathered.size(), 5U);
  const std::vector<int32_t> first_tokens = {5, 6, 7, 8, 5};
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(gathered[i], first_tokens[order[i]]) << i;
}

TEST(LabelledBatches, RefusesTextsWithoutLabels) {
  auto data = texts();
  data.labels[3] = -1;
  data.unlabelled = 1;
  EXPECT_THROW(LabelledBatches(data, tokenizer(), options(2)), Error);
}

}  // namespace
}  // namespace m2bert::data
