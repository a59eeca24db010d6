#include "m2bert/tasks/retrieval.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "m2bert/error.h"
#include "tests/support/tiny_config.h"

namespace m2bert::tasks {
namespace {

// Labels 0, 1, 2, ... and no tokens, as batch_loss takes them.
data::Batch labels_alone(int rows) {
  data::Batch batch;
  batch.rows = rows;
  batch.labels.resize(size_t(rows));
  std::iota(batch.labels.begin(), batch.labels.end(), 0);
  return batch;
}

mx::array random_rows(int rows, int width, uint64_t seed = 1) {
  return mx::random::normal({rows, width}, mx::float32, 0, 1, mx::random::key(seed));
}

mx::array rows_of(const mx::array& a, int first, int rows) { return mx::slice(a, {first, 0}, {first + rows, a.shape(1)}); }

float value(mx::array a) { return a.item<float>(); }

Retrieval task_of(RetrievalSettings settings = {}, MemoryBank* bank = nullptr) {
  return Retrieval(test::tiny_bert_config(), std::move(settings), bank);
}

TEST(Retrieval, LossIsThatOfTheColumns) {
  const auto e = random_rows(12, 5);
  const auto expected = nn::multiple_negatives_ranking_loss(rows_of(e, 0, 4), rows_of(e, 4, 8));
  EXPECT_FLOAT_EQ(value(task_of({.rows_per_sample = 3}).batch_loss(e, labels_alone(12), 1)), value(expected));
}

// Two processes: queries a, b and passages a, b of the first, then those of the second.
TEST(Retrieval, LossIsThatOfAllProcesses) {
  const auto e = random_rows(8, 5);
  const auto queries = mx::concatenate({rows_of(e, 0, 2), rows_of(e, 4, 2)}, 0),
             passages = mx::concatenate({rows_of(e, 2, 2), rows_of(e, 6, 2)}, 0);
  EXPECT_FLOAT_EQ(value(task_of().batch_loss(e, labels_alone(8), 2)), value(nn::multiple_negatives_ranking_loss(queries, passages)));
}

TEST(Retrieval, KnownPositivesAreNoNegatives) {
  const auto e = random_rows(6, 5);
  RetrievalSettings settings;
  settings.positives = {{0, {3, 5}}, {1, {4}}, {2, {5}}};  // passage 5 answers query 0 too
  const auto mask = mx::array({false, false, true, false, false, false, false, false, false}, {3, 3});
  const auto expected = nn::multiple_negatives_ranking_loss(rows_of(e, 0, 3), rows_of(e, 3, 3), {}, nullptr, mask);
  const auto all = nn::multiple_negatives_ranking_loss(rows_of(e, 0, 3), rows_of(e, 3, 3));
  EXPECT_FLOAT_EQ(value(task_of(settings).batch_loss(e, labels_alone(6), 1)), value(expected));
  EXPECT_LT(value(expected), value(all));
}

TEST(Retrieval, MemoryBankHoldsTheLastPassages) {
  MemoryBank bank(3, 5);
  const auto task = task_of({}, &bank);
  const auto first = random_rows(4, 5), second = random_rows(4, 5, 2);
  task.after_gradient(first, labels_alone(4), 1);
  EXPECT_EQ(bank.numbers(), (std::vector<int32_t>{2, 3}));
  const auto passages = mx::concatenate({rows_of(second, 2, 2), rows_of(first, 2, 2)}, 0);
  EXPECT_FLOAT_EQ(value(task.batch_loss(second, labels_alone(4), 1)),
                  value(nn::multiple_negatives_ranking_loss(rows_of(second, 0, 2), passages)));
  auto labels = labels_alone(4);
  labels.labels = {10, 11, 12, 13};
  task.after_gradient(second, labels, 1);
  EXPECT_EQ(bank.numbers(), (std::vector<int32_t>{13, 3, 12}));
  EXPECT_EQ(bank.count(), 3);
  for (int i = 0; i < 20; ++i) bank.push(random_rows(2, 5), {100 + 2 * i, 101 + 2 * i});
  auto numbers = bank.numbers();
  std::ranges::sort(numbers);
  EXPECT_EQ(numbers, (std::vector<int32_t>{137, 138, 139}));
  bank.push(random_rows(5, 5), {1, 2, 3, 4, 5});  // more than it holds
  numbers = bank.numbers();
  std::ranges::sort(numbers);
  EXPECT_EQ(numbers, (std::vector<int32_t>{3, 4, 5}));
}

TEST(Retrieval, PaddingOfABatchChangesNothing) {
  models::Model model(test::tiny_bert_config(), models::Head::none);
  model.init(3);
  const auto task = task_of();
  auto batch = task.dummy_batch(2, 12);
  for (int i = 7; i < 12; ++i) batch.attention_mask[size_t(i)] = batch.attention_mask[size_t(12 + i)] = 0;
  data::Batch shorter{2, 7};
  for (int row = 0; row < 2; ++row)
    for (int i = 0; i < 7; ++i) {
      shorter.input_ids.push_back(batch.input_ids[size_t(row * 12 + i)]);
      shorter.attention_mask.push_back(1);
    }
  nn::Pass pass;
  const auto a = task.embed(model, batch, 0, 2, pass), b = task.embed(model, shorter, 0, 2, pass);
  EXPECT_EQ(value(mx::max(mx::abs(a - b))), 0);
}

TEST(Retrieval, EvaluatesRankings) {
  models::Model model(test::tiny_bert_config(), models::Head::none);
  model.init(3);
  RetrievalSettings settings;
  // Texts 0 and 1 are the queries. Passage 2 is the same text as query 1, passage 3 that of query 0.
  settings.evaluation = {.queries = 2, .passages = 2, .relevant = {{1}, {1}}, .k = 2};
  const auto task = task_of(settings);
  auto batch = task.dummy_batch(4, 6);
  std::copy_n(batch.input_ids.begin() + 6, 6, batch.input_ids.begin() + 12);
  std::copy_n(batch.input_ids.begin(), 6, batch.input_ids.begin() + 18);
  batch.labels = {0, 1, 2, 3};
  auto sums = task.zero_sums();
  EXPECT_TRUE(std::isnan(*find(task.eval_metrics(sums), "nDCG@2")));
  task.add_sums(sums, model, batch, 2, 2);  // in any order
  task.add_sums(sums, model, batch, 0, 2);
  const auto metrics = task.eval_metrics(sums);
  EXPECT_NEAR(*find(metrics, "nDCG@2"), (1 + 1 / std::log2(3.0)) / 2, 1e-9);
  EXPECT_NEAR(*find(metrics, "MRR@2"), 0.75, 1e-9);
  EXPECT_EQ(*find(metrics, "Recall@2"), 1);
}

TEST(Retrieval, RefusesWhatALossCannotUse) {
  MemoryBank bank(3, 5);
  EXPECT_THROW(task_of({.objective = {.loss = RetrievalLoss::triplet}}, &bank), Error);
  auto batch = labels_alone(4);
  EXPECT_THROW(task_of({.objective = {.loss = RetrievalLoss::triplet}}).batch_loss(random_rows(4, 5), batch, 1), Error);
  EXPECT_THROW(task_of({.objective = {.loss = RetrievalLoss::margin_mse}, .rows_per_sample = 4}).batch_loss(random_rows(4, 5), batch, 1),
               Error);
  EXPECT_THROW(task_of().batch_loss(random_rows(3, 5), labels_alone(3), 1), Error);
  batch.targets = {0, 0, 1, 0};
  EXPECT_THROW(task_of().batch_loss(random_rows(4, 5), batch, 1), Error);
}

}  // namespace
}  // namespace m2bert::tasks
