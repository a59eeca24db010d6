#include "m2bert/train/evaluation.h"

#include "m2bert/checkpoint/match.h"
#include "m2bert/checkpoint/weights.h"
#include "m2bert/models/pretrained.h"
#include "m2bert/train/fixed_batches.h"
#include "m2bert/train/step.h"
#include "tiny_run.h"

namespace m2bert::train {
namespace {

class EvaluationTest : public ::testing::Test {
 protected:
  EvaluationTest() {
    checkpoint::match(model_, checkpoint::load_weights(trainlog() / "params_after_10.safetensors"), {.allow_missing = true});
  }
  // From the logits of all tokens.
  int64_t right_guesses(const data::TrainBatch& batch) const {
    nn::Pass pass;
    const auto logits = model_.masked_lm_logits(model_.hidden_states(model_input(batch, 0, batch.rows), pass), pass);
    auto hits = mx::equal(mx::astype(mx::argmax(logits, -1), mx::int32), label_array(batch, 0, batch.rows));
    return mx::sum(hits).item<int32_t>();
  }

  models::Model model_{models::read_config(trainlog() / "config.yaml"), models::Head::masked_lm};
  FixedBatches source_{trainlog() / "inputs.safetensors", 0, 1};
  Processes processes_;
};

TEST_F(EvaluationTest, IsTheModelsOwnLoss) {
  double sum = 0;
  int64_t tokens = 0, right = 0;
  for (int i = 0; i < 2; ++i) {
    const auto batch = source_.next();
    const int64_t predicted = count_predicted(model_.config(), *batch, 0, batch->rows);
    nn::Pass pass;
    sum += double(predicted) *
           model_.masked_lm_loss(model_input(*batch, 0, batch->rows), label_array(*batch, 0, batch->rows), pass).item<float>();
    tokens += predicted;
    right += right_guesses(*batch);
  }
  for (const int rows : {0, 1, 3}) {
    const auto result = evaluate(model_, source_, processes_, {2, rows, mx::float32});
    EXPECT_NEAR(result.cross_entropy.value(), sum / double(tokens), 1e-5 * sum / double(tokens));
    EXPECT_EQ(result.cross_entropy.tokens(), tokens);
    EXPECT_EQ(result.samples, 16);
    EXPECT_EQ(result.accuracy.right(), right);
    EXPECT_GT(right, 0);
  }
}

TEST_F(EvaluationTest, LeavesTheWeightsAsTheyAre) {
  const auto before = *nn::parameters(model_)[0].array;
  const auto exact = evaluate(model_, source_, processes_, {1, 0, mx::float32});
  const auto rough = evaluate(model_, source_, processes_, {1, 0, mx::bfloat16});
  EXPECT_EQ(nn::parameters(model_)[0].array->id(), before.id());
  EXPECT_NE(rough.cross_entropy.value(), exact.cross_entropy.value());
  EXPECT_NEAR(rough.cross_entropy.value(), exact.cross_entropy.value(), 0.05);
}

}  // namespace
}  // namespace m2bert::train
