#include "m2bert/train/evaluate_model.h"

#include <cmath>
#include <filesystem>

#include "m2bert/checkpoint/safetensors.h"
#include "m2bert/checkpoint/weights.h"
#include "m2bert/train/initial_weights.h"
#include "tiny_run.h"

namespace m2bert::train {
namespace {

using test::error_of;
using test::has;
using test::Scratch;

// The recipe of a run, read again.
Recipe recipe_of(const Scratch& scratch, const std::vector<std::string>& overrides) {
  return read_recipe(scratch / "recipe.yaml", overrides);
}

Evaluation evaluate(const Recipe& recipe, const golden::fs::path& weights) {
  return evaluate_model(recipe, tasks::MaskedLM(recipe.model), weights, Processes()).front();
}

void expect_same(const Evaluation& a, const Evaluation& b) {
  EXPECT_EQ(a.samples, b.samples);
  ASSERT_EQ(a.metrics.size(), b.metrics.size());
  for (size_t i = 0; i < a.metrics.size(); ++i) {
    EXPECT_EQ(a.metrics[i].name, b.metrics[i].name);
    EXPECT_EQ(a.metrics[i].value, b.metrics[i].value) << a.metrics[i].name;
  }
}

// Checkpoint, model folder and folder of the run give the numbers of the evaluation within the run, also with averaged weights.
TEST(EvaluateModel, GivesTheNumbersOfTheRun) {
  const std::vector<std::vector<std::string>> settings = {
      {}, {"precision=amp_bf16"}, {"algorithms.ema.half_life=3ba"}, {"device_eval_batch_size=3", "eval_subset_num_batches=2"}};
  for (const auto& more : settings) {
    std::vector<std::string> overrides = {"max_duration=4ba", "scheduler.t_warmup=0ba", "eval_loader=${train_loader}"};
    overrides.insert(overrides.end(), more.begin(), more.end());
    const Scratch scratch;
    const auto run = run_trainlog(scratch, overrides);
    ASSERT_TRUE(!run.evaluations.empty());
    const auto recipe = recipe_of(scratch, overrides);
    for (const char* name : {"run/ep0-ba4.safetensors", "run/model", "run"}) {
      SCOPED_TRACE(name);
      expect_same(evaluate(recipe, find_weights((scratch / name).string(), "")), run.evaluations.front());
    }
    expect_same(evaluate(read_recipe(scratch / "run/recipe.yaml"), scratch / "run/model"), run.evaluations.front());
  }
}

TEST(EvaluateModel, SaysWhatIsWrong) {
  const Scratch scratch;
  scratch.put("recipe.yaml", trainlog_recipe(scratch / ""));
  const auto weights = trainlog() / "checkpoint.pt";
  EXPECT_PRED2(has, error_of([&] { evaluate(recipe_of(scratch, {}), weights); }), ": eval_loader: is missing: it names the data");
  EXPECT_PRED2(has, error_of([&] {
                 evaluate(recipe_of(scratch, {"eval_loader=${train_loader}", "model.model_config.num_hidden_layers=3"}), weights);
               }),
               "Is this the recipe of the checkpoint?");
  EXPECT_PRED2(has, error_of([&] { find_weights("/nowhere.pt", "load_path: "); }), "load_path: /nowhere.pt: no such file, folder");
}

TEST(EvaluateModel, RefusesWeightsThatAreNotFinite) {
  const Scratch scratch;
  scratch.put("recipe.yaml", trainlog_recipe(scratch / ""));
  auto weights = checkpoint::load_weights(trainlog() / "checkpoint.pt");
  for (auto& [name, array] : weights) {
    if (name == "cls.predictions.transform.dense.bias") array = mx::full(array.shape(), NAN);
  }
  const auto file = scratch / "nan.safetensors";
  checkpoint::save_safetensors(file, weights);
  const std::string message = "nan.safetensors: cls.predictions.transform.dense.bias has NaN or infinite values";
  EXPECT_PRED2(has, error_of([&] { evaluate(recipe_of(scratch, {"eval_loader=${train_loader}"}), file); }), message);
  EXPECT_PRED2(has, error_of([&] { run_trainlog(scratch, {"load_path=" + file.string(), "load_weights_only=true"}); }), message);
}

}  // namespace
}  // namespace m2bert::train
