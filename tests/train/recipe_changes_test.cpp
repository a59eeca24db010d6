#include "m2bert/train/recipe_changes.h"

#include "tiny_run.h"

namespace m2bert::train {
namespace {

using test::Scratch;

std::string names(const std::vector<RecipeChange>& changes) {
  std::string text;
  for (const auto& change : changes) text += (text.empty() ? "" : " ") + change.key;
  return text;
}

class Changes : public ::testing::Test {
 protected:
  Recipe read(std::vector<std::string> overrides = {}) {
    overrides.insert(overrides.begin(), "mlm_probability=null");
    scratch_.put("r.yaml", trainlog_recipe(scratch_ / ""));
    return read_recipe(scratch_ / "r.yaml", overrides, {.allow_unknown = true});
  }
  // From the fixture's recipe, as a checkpoint holds it, to one with these overrides.
  RecipeChanges to(const std::vector<std::string>& overrides, bool same_data = false) {
    return changes_of(io::parse_json(io::to_json(read().tree), "state"), read(overrides), same_data);
  }
  Scratch scratch_;
};

TEST_F(Changes, NoneInTheSameRecipe) {
  EXPECT_EQ(names(to({}).other) + names(to({}).more), "");
  EXPECT_EQ(names(to({"unused.x=3", "variable=4"}).other), "");
}

TEST_F(Changes, OfModelDataAndTrainingMakeAnotherRun) {
  const auto changes = to({"optimizer.lr=0.5", "model.model_config.hidden_size=128", "seed=3", "train_loader.file=/other",
                           "algorithms.ema.half_life=10ba", "precision=amp_bf16", "optimizer.betas=[0.8, 0.9]"});
  EXPECT_EQ(names(changes.other),
            "algorithms.ema.half_life model.model_config.hidden_size optimizer.betas optimizer.lr precision seed train_loader.file");
  EXPECT_EQ(names(changes.more), "");
  EXPECT_PRED2(test::has, lines_of(changes.other), "\n  optimizer.lr: ");
  EXPECT_PRED2(test::has, lines_of(changes.other), ", now 0.5\n");
  EXPECT_PRED2(test::has, lines_of(changes.other), "algorithms.ema.half_life: not set, now \"10ba\"");
}

TEST_F(Changes, ARunMayGoOnWithOthers) {
  const auto changes =
      to({"max_duration=7ba", "global_train_batch_size=16", "save_interval=1ba", "save_num_checkpoints_to_keep=1", "eval_interval=3ba",
          "eval_loader=${train_loader}", "autoresume=true", "loggers.tensorboard={}", "callbacks.lr_monitor={}", "log_to_console=true",
          "device_train_microbatch_size=2", "device=cpu", "load_path=null", "progress_bar=true"});
  EXPECT_EQ(names(changes.other), "");
  EXPECT_EQ(names(changes.more), "global_train_batch_size max_duration");
}

// A data set that was moved is the same.
TEST_F(Changes, ThePlaceOfTheSameDataDoesNotMatter) {
  EXPECT_EQ(names(to({"train_loader.file=/other"}, true).other), "");
  EXPECT_EQ(names(to({"train_loader.file=/other"}, false).other), "train_loader.file");
  const std::string moved = "train_loader={name: retrieval, data: /new/pairs.jsonl}";
  const auto before = read({"train_loader={name: retrieval, data: /old/pairs.jsonl}"}).tree;
  EXPECT_EQ(names(changes_of(before, read({moved}), true).other), "");
  EXPECT_EQ(names(changes_of(before, read({moved}), false).other), "train_loader.data");
}

// What the checkpoint's recipe has and the new one lacks.
TEST_F(Changes, RemovedKeysCount) {
  const auto before = io::parse_json(io::to_json(read({"algorithms.ema.half_life=5ba", "optimizer.decay_bias_and_norm=false"}).tree), "");
  EXPECT_EQ(names(changes_of(before, read(), false).other), "algorithms.ema.half_life optimizer.decay_bias_and_norm");
}

}  // namespace
}  // namespace m2bert::train
