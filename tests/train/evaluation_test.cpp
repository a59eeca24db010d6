#include "m2bert/train/evaluation.h"

#include <cmath>

#include "m2bert/checkpoint/match.h"
#include "m2bert/checkpoint/weights.h"
#include "m2bert/models/pretrained.h"
#include "m2bert/tasks/masked_lm.h"
#include "m2bert/train/fixed_batches.h"
#include "tiny_run.h"

namespace m2bert::train {
namespace {

double value(const Evaluation& evaluation, const char* metric) { return *tasks::find(evaluation.metrics, metric); }

class EvaluationTest : public ::testing::Test {
 protected:
  EvaluationTest() {
    checkpoint::match(model_, checkpoint::load_weights(trainlog() / "params_after_10.safetensors"), {.allow_missing = true});
  }
  // From the logits of all tokens.
  int64_t right_guesses(const data::Batch& batch) const {
    nn::Pass pass;
    const auto logits = model_.masked_lm_logits(model_.hidden_states(models::inputs_of(batch), pass), pass);
    auto hits = mx::equal(mx::astype(mx::argmax(logits, -1), mx::int32), models::labels_of(batch, 0, batch.rows));
    return mx::sum(hits).item<int32_t>();
  }

  models::Model model_{models::read_config(trainlog() / "config.yaml"), models::Head::masked_lm};
  tasks::MaskedLM task_{model_.config()};
  FixedBatches source_{trainlog() / "inputs.safetensors", 0, 1};
  Processes processes_;
};

TEST_F(EvaluationTest, IsTheModelsOwnLoss) {
  double sum = 0;
  int64_t tokens = 0, right = 0;
  for (int i = 0; i < 2; ++i) {
    const auto batch = source_.next();
    const int64_t predicted = task_.weight(*batch, 0, batch->rows);
    nn::Pass pass;
    sum += double(predicted) * task_.loss(model_, *batch, 0, batch->rows, pass).item<float>();
    tokens += predicted;
    right += right_guesses(*batch);
  }
  for (const int rows : {0, 1, 3}) {
    const auto result = evaluate(model_, task_, source_, processes_, {2, rows, mx::float32});
    EXPECT_NEAR(value(result, "LanguageCrossEntropy"), sum / double(tokens), 1e-5 * sum / double(tokens));
    EXPECT_DOUBLE_EQ(value(result, "MaskedAccuracy"), double(right) / double(tokens));
    EXPECT_DOUBLE_EQ(value(result, "Perplexity"), std::exp(value(result, "LanguageCrossEntropy")));
    EXPECT_EQ(result.metrics.size(), 3U);
    EXPECT_EQ(result.samples, 16);
    EXPECT_GT(right, 0);
  }
}

TEST_F(EvaluationTest, LeavesTheWeightsAsTheyAre) {
  const auto before = *nn::parameters(model_)[0].array;
  const auto exact = evaluate(model_, task_, source_, processes_, {1, 0, mx::float32});
  const auto rough = evaluate(model_, task_, source_, processes_, {1, 0, mx::bfloat16});
  EXPECT_EQ(nn::parameters(model_)[0].array->id(), before.id());
  EXPECT_NE(value(rough, "LanguageCrossEntropy"), value(exact, "LanguageCrossEntropy"));
  EXPECT_NEAR(value(rough, "LanguageCrossEntropy"), value(exact, "LanguageCrossEntropy"), 0.05);
}

}  // namespace
}  // namespace m2bert::train
