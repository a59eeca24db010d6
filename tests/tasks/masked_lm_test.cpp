#include "m2bert/tasks/masked_lm.h"

#include <algorithm>
#include <cmath>

#include "m2bert/models/pretrained.h"
#include "tests/models/golden.h"

namespace m2bert::tasks {
namespace {

models::Config config(models::Family family = models::Family::m2) {
  auto c = models::read_config(golden::source_dir() / "tests/golden/trainlog/config.yaml");
  c.family = family;
  return c;
}

data::Batch batch_with_labels(int rows, int length, const std::vector<int32_t>& labels) {
  auto batch = MaskedLM(config()).dummy_batch(rows, length);
  batch.labels = labels;
  return batch;
}

TEST(MaskedLM, LossIsTheMeanOverPredictedTokens) {
  models::Model model(config(), models::Head::masked_lm);
  model.init(8);
  const MaskedLM task(config());
  const auto batch = task.dummy_batch(2, 12);
  nn::Pass pass;
  const auto labels = models::labels_of(batch, 0, 2);
  const auto logits = model.masked_lm_logits(model.hidden_states(models::inputs_of(batch)), pass);
  const auto each =
      mx::logsumexp(logits, -1) - mx::squeeze(mx::take_along_axis(logits, mx::expand_dims(mx::maximum(labels, mx::array(0)), -1), -1), -1);
  const auto on = mx::astype(mx::greater(labels, mx::array(0)), mx::float32);
  EXPECT_NEAR(task.loss(model, batch, 0, 2, pass).item<float>(), (mx::sum(each * on) / mx::sum(on)).item<float>(), 1e-5f);
}

TEST(MaskedLM, LossIsThatOfTheRowsAlone) {
  models::Model model(config(), models::Head::masked_lm);
  model.init(8);
  const MaskedLM task(config());
  const auto whole = task.dummy_batch(3, 12);
  data::Batch part{1, 12};
  auto row = [](const std::vector<int32_t>& all) { return std::vector<int32_t>(all.begin() + 12, all.begin() + 24); };
  part.input_ids = row(whole.input_ids), part.attention_mask = row(whole.attention_mask), part.labels = row(whole.labels);
  nn::Pass pass;
  EXPECT_EQ(task.loss(model, whole, 1, 1, pass).item<float>(), task.loss(model, part, 0, 1, pass).item<float>());
}

// Label 0 is ignored by M2-BERT and counts for Hugging Face's BERT; -100 never counts.
TEST(MaskedLM, WeighsPredictedTokens) {
  const auto batch = batch_with_labels(2, 4, {-100, 0, 7, -100, -100, 9, 0, 3});
  const MaskedLM m2(config()), hf(config(models::Family::hf_bert));
  EXPECT_EQ(m2.weight(batch, 0, 2), 3);
  EXPECT_EQ(hf.weight(batch, 0, 2), 5);
  EXPECT_EQ(m2.weight(batch, 0, 1), 1);
  EXPECT_EQ(hf.weight(batch, 1, 1), 3);
}

TEST(MaskedLM, SumsGiveTheMetrics) {
  models::Model model(config(), models::Head::masked_lm);
  model.init(8);
  const MaskedLM task(config());
  const auto batch = task.dummy_batch(3, 12);
  auto whole = task.zero_sums(), parts = task.zero_sums();
  task.add_sums(whole, model, batch, 0, 3);
  for (int row = 0; row < 3; ++row) task.add_sums(parts, model, batch, row, 1);
  EXPECT_EQ(whole.counts, parts.counts);
  EXPECT_NEAR(whole.values[0], parts.values[0], 1e-5 * whole.values[0]);
  const auto metrics = task.eval_metrics(whole);
  nn::Pass pass;
  EXPECT_NEAR(*find(metrics, "LanguageCrossEntropy"), task.loss(model, batch, 0, 3, pass).item<float>(), 1e-5);
  EXPECT_DOUBLE_EQ(*find(metrics, "Perplexity"), std::exp(*find(metrics, "LanguageCrossEntropy")));
  EXPECT_GE(*find(metrics, "MaskedAccuracy"), 0);
  EXPECT_EQ(find(metrics, "F1"), nullptr);
}

TEST(MaskedLM, RowsWithoutALabelAddNothing) {
  models::Model model(config(), models::Head::masked_lm);
  const MaskedLM task(config());
  auto batch = task.dummy_batch(1, 12);
  std::ranges::fill(batch.labels, -100);
  auto sums = task.zero_sums();
  task.add_sums(sums, model, batch, 0, 1);
  EXPECT_EQ(sums.counts, task.zero_sums().counts);
  EXPECT_TRUE(std::isnan(*find(task.eval_metrics(sums), "LanguageCrossEntropy")));
}

}  // namespace
}  // namespace m2bert::tasks
