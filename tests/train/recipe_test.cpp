#include "m2bert/train/recipe.h"

#include <cmath>
#include "tiny_run.h"

namespace m2bert::train {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::has;
using test::Scratch;

class RecipeTest : public ::testing::Test {
 protected:
  // The fixture's recipe without its mlm_probability, which ready batches do not use.
  Recipe read(std::vector<std::string> overrides = {}, const std::string& more = "") {
    overrides.insert(overrides.begin(), "mlm_probability=null");
    scratch_.put("r.yaml", trainlog_recipe(scratch_ / "") + more);
    return read_recipe(scratch_ / "r.yaml", overrides);
  }
  std::string error(const std::vector<std::string>& overrides) {
    return error_of([&] { read(overrides); });
  }
  Scratch scratch_;
};

TEST_F(RecipeTest, ReadsEveryRecipeOfTheReference) {
  const fs::path folder = golden::shared_dir() / "yamls/pretrain";
  if (!fs::exists(folder)) GTEST_SKIP() << "upstream's recipes are not beside this checkout: " << folder;
  int files = 0;
  for (const auto& file : fs::directory_iterator(folder)) {
    SCOPED_TRACE(file.path().filename());
    const auto r = read_recipe(file.path());
    ++files;
    EXPECT_EQ(optim::show(r.max_duration), "286720000sp");
    EXPECT_EQ(r.compute, mx::bfloat16);
    EXPECT_EQ(r.optimizer.decay, optim::WeightDecay::decoupled);
    EXPECT_EQ(r.optimizer.beta2, 0.98);
    EXPECT_EQ(r.schedule.decay, optim::Decay::linear);
    EXPECT_EQ(r.schedule.alpha_f, 0.02);
    EXPECT_EQ(r.groups.weight_decay, 1e-5);
    EXPECT_FALSE(r.groups.filters.has_value());
    EXPECT_EQ(r.callbacks.speed_window, 500);
    EXPECT_TRUE(r.callbacks.learning_rate);
    EXPECT_EQ(optim::show(r.save.interval), "7000ba");
    EXPECT_EQ(r.save.keep, 10);
    EXPECT_PRED2(has, r.save.folder.string(), "local-bert-checkpoints/" + r.run_name);  // {run_name} and ${run_name} alike
    const bool two_thousand = r.model.max_length() == 2048;
    EXPECT_EQ(r.save.grow.has_value(), two_thousand);
    EXPECT_EQ(has(r.warning, "loggers.wandb"), two_thousand) << r.warning;
    EXPECT_EQ(r.clipping.by, r.model.monarch_mixer_sequence_mixing ? optim::ClipBy::norm : optim::ClipBy::nothing);
  }
  EXPECT_EQ(files, 7);
}

TEST_F(RecipeTest, EvaluationSetsOfEveryKindHaveALabel) {
  const std::string text = "{name: text, label: b, dataset: {local: data, max_seq_len: 128}}";
  const auto r =
      read({"eval_loader=[{name: batches, label: a, file: x.safetensors}, " + text + ", {name: labelled, label: c, file: x.csv}]"});
  ASSERT_EQ(r.eval_loaders.size(), 3U);
  EXPECT_EQ(r.eval_loaders[0].label + r.eval_loaders[1].label + r.eval_loaders[2].label, "abc");
  EXPECT_EQ(r.warning, "");
  EXPECT_PRED2(has, error({"eval_loader=[{name: batches, file: x}, {name: batches, label: a, file: x}]"}), "wants a `label` of its own");
  EXPECT_PRED2(has, read({"train_loader.label=a"}).warning, "train_loader.label");
}

TEST_F(RecipeTest, NamesKeysWithoutEffectOnce) {
  EXPECT_EQ(read().warning, "");
  const auto r = read({"optimizer.learning_rate=3", "model.model_config.head_dim=4", "callbacks.health_checker={}",
                       "algorithms.alibi={max_sequence_length: 5}", "python_log_level=debug"},
                      "unused: {a: 1}\n");
  EXPECT_EQ(r.warning, (scratch_ / "r.yaml").string() +
                           ": keys without effect here: optimizer.learning_rate, algorithms.alibi.max_sequence_length, unused.a, "
                           "callbacks.health_checker, python_log_level, model.model_config.head_dim");
}

TEST_F(RecipeTest, RefusesMisspeltKeys) {
  EXPECT_EQ(
      error({"max_duratoin=4ba"}),
      "override max_duratoin=4ba: max_duratoin: is not a key that a recipe has; did you mean max_duration? (--allow-unknown ignores it)");
  EXPECT_PRED2(has, error({"optimizer.wieght_decay=0"}), "did you mean optimizer.weight_decay?");
  EXPECT_PRED2(has, error({"model.model_config.hiden_size=4"}), "did you mean model.model_config.hidden_size?");
  EXPECT_PRED2(has, error({"callbacks.speed_moniter.window_size=4"}), "did you mean callbacks.speed_monitor.window_size?");
  EXPECT_PRED2(has, error({"algorithms.gradient_cliping={clipping_type: norm, clipping_threshold: 1}"}), "algorithms.gradient_clipping.");
  EXPECT_PRED2(has, error({"max_seq_length=32"}), "did you mean max_seq_len?");
  EXPECT_PRED2(has, error_of([&] { read({"data_locl=x"}, "data_local: y\nother: ${data_local}\n"); }), "did you mean data_local?");
  EXPECT_PRED2(has, error_of([&] { read({}, "seeed: 3\n"); }), "r.yaml:");
  scratch_.put("r.yaml", trainlog_recipe(scratch_ / ""));
  const auto r = read_recipe(scratch_ / "r.yaml", {"mlm_probability=null", "max_duratoin=4ba"}, {.allow_unknown = true});
  EXPECT_EQ(r.warning, (scratch_ / "r.yaml").string() + ": keys without effect here: max_duratoin");
}

TEST_F(RecipeTest, RefusesOverridesThatNothingReads) {
  EXPECT_EQ(error({"lr=3"}),
            "override lr=3: lr: is not a key that a recipe has, and nothing in the recipe refers to it; did you mean optimizer.lr? "
            "(--allow-unknown ignores it)");
  EXPECT_PRED2(has, error({"batch_size=3"}), "override batch_size=3: batch_size: is not a key");
  EXPECT_PRED2(has, error({"mine={a: 1}"}), "override mine={a: 1}: mine.a: is not a key");
  EXPECT_EQ(read({"algorithms=[]"}).warning, "");
  EXPECT_NO_THROW(read({"mine=2"}, "mine: 1\n"));
  EXPECT_NO_THROW(read({"rate=0.1"}, "other: ${rate}\n"));
  EXPECT_NO_THROW(read({"rate=0.1", "optimizer.lr=${rate}"}));
  scratch_.put("r.yaml", trainlog_recipe(scratch_ / ""));
  EXPECT_PRED2(has, read_recipe(scratch_ / "r.yaml", {"mlm_probability=null", "lr=3"}, {.allow_unknown = true}).warning, "lr");
}

// Composer's settings that have no counterpart here look like none that has.
TEST_F(RecipeTest, OtherKeysOfComposerAreNotTakenForMisspeltOnes) {
  EXPECT_NO_THROW(read({"save_weights_only=true", "save_filename=x", "load_progress_bar=false", "load_strict_model_weights=true",
                        "scale_schedule_ratio=1", "dist_timeout=10", "grad_accum=1", "deterministic_mode=true", "console_stream=stderr",
                        "compute_training_metrics=true", "loggers.wandb.project=x", "callbacks.image_visualizer={}"}));
}

TEST_F(RecipeTest, FillsInPlaceholders) {
  scratch_.put("r.yaml", trainlog_recipe(scratch_ / ""));
  const std::vector<std::string> overrides = {"mlm_probability=null",
                                              "run_name=mine",
                                              "load_path=w/{local_rank}.pt",
                                              "save_folder='{run_name}/node{node_rank}-rank{rank}-of{world_size}-{local_world_size}-{{x}}'",
                                              "loggers.tensorboard.log_dir=tb/{run_name}/{rank}",
                                              "train_loader.file=data-{node_rank}"};
  auto r = read_recipe(scratch_ / "r.yaml", overrides, {.placeholders = {"", 5, 1, 2, 8, 2}});
  EXPECT_EQ(r.save.folder, "mine/node2-rank5-of8-2-{x}");
  EXPECT_EQ(r.save.load_path, "w/1.pt");
  EXPECT_EQ(r.log.tensorboard, fs::path("tb/mine/5"));
  EXPECT_EQ(r.train_loader.file, "data-2");
  r = read_recipe(scratch_ / "r.yaml", overrides);
  EXPECT_EQ(r.save.folder, "mine/node0-rank0-of1-1-{x}");
  for (const char* key : {"save_folder", "load_path", "model.pretrained_checkpoint", "loggers.tensorboard.log_dir", "train_loader.file"}) {
    EXPECT_PRED2(has, error({std::string(key) + "=x{batch}"}),
                 std::string(key) + ": the placeholder {batch} is not known; there are {run_name}");
  }
  EXPECT_PRED2(has, error({"train_loader={name: text, dataset: {local: 'x{epoch}', max_seq_len: 8}}"}),
               "train_loader.dataset.local: the placeholder {epoch} is not known");
  EXPECT_PRED2(has, error({"save_folder=a}b"}), "save_folder: a single } in \"a}b\"");
  EXPECT_PRED2(has, error({"save_folder='a{b'"}), "save_folder: a single { in");
}

// hidden and layers exist only to be interpolated.
TEST_F(RecipeTest, VariablesHaveAnEffect) {
  EXPECT_EQ(read({}, "hidden: {size: 64}\nlayers: 2\nother: ${layers}\nrun_name: ${hidden.size}-${other}\n").warning, "");
}

TEST_F(RecipeTest, OverridesComeLast) {
  const auto r = read({"optimizer.lr=1e-4", "max_duration=2ep", "optimizer.betas=[0.8,0.9]", "device_train_microbatch_size=4",
                       "global_eval_batch_size=16", "save_interval=0.5dur", "eval_interval=1", "scheduler.name=cosine_with_warmup"});
  EXPECT_EQ(r.groups.learning_rate, 1e-4);
  EXPECT_EQ(optim::show(r.max_duration), "2ep");
  EXPECT_EQ(r.optimizer.beta1, 0.8);
  EXPECT_EQ(r.microbatch, 4);
  EXPECT_EQ(r.global_eval_batch, 16);
  EXPECT_EQ(optim::show(r.save.interval), "0.5dur");
  EXPECT_EQ(optim::show(r.eval_interval), "1ep");
  EXPECT_EQ(r.schedule.decay, optim::Decay::cosine);
}

TEST_F(RecipeTest, ReadsOptimizersAndAlgorithms) {
  const auto r =
      read({"optimizer.name=adamw", "optimizer.filter_groups=true", "optimizer.decay_bias_and_norm=false",
            "algorithms.gradient_clipping={clipping_type: value, clipping_threshold: 0.1}",
            "algorithms.ema={half_life: 100ba, update_interval: 10ba}", "accumulate_train_batch_on_tokens=false", "precision=fp32"});
  EXPECT_EQ(r.optimizer.decay, optim::WeightDecay::by_learning_rate);
  ASSERT_TRUE(r.groups.filters.has_value());
  EXPECT_EQ(r.groups.filters->learning_rate, 1e-3);
  EXPECT_EQ(r.groups.filters->positions_learning_rate, 1e-5);
  EXPECT_EQ(r.groups.filters->weight_decay, 0.1);
  EXPECT_TRUE(r.groups.no_decay_of_vectors);
  EXPECT_EQ(r.clipping.by, optim::ClipBy::value);
  ASSERT_TRUE(r.average.has_value());
  EXPECT_EQ(r.average->interval, 10);
  EXPECT_NEAR(r.average->smoothing, std::exp2(-0.1), 1e-12);
  EXPECT_EQ(r.weighting, Weighting::samples);
  EXPECT_EQ(r.compute, mx::float32);
}

TEST_F(RecipeTest, NotesALearningRateOfZero) {
  EXPECT_TRUE(read().notes.empty());
  const auto notes = read({"optimizer.lr=0"}).notes;
  ASSERT_EQ(notes.size(), 1U);
  EXPECT_PRED2(has, notes[0], "optimizer.lr: the learning rate is 0: the weights are not trained");
}

TEST_F(RecipeTest, ReadsCallbacksAndLoggers) {
  const auto r =
      read({"callbacks={speed_monitor: {window_size: 7, gpu_flops_available: 1e12}, lr_monitor: {}, memory_monitor: {}, "
            "runtime_estimator: {}, optimizer_monitor: {log_optimizer_metrics: false}, loss_guard: {spike: roll_back, window: 20}}",
            "loggers={tensorboard: {log_dir: 'tb/{run_name}'}}", "run_name=x", "log_to_console=true", "console_log_interval=10ba"});
  EXPECT_EQ(r.warning, "");
  EXPECT_EQ(r.callbacks.speed_window, 7);
  EXPECT_EQ(r.callbacks.peak_flops, 1e12);
  EXPECT_TRUE(r.callbacks.learning_rate && r.callbacks.memory && r.callbacks.runtime);
  EXPECT_EQ(r.callbacks.optimizer, false);
  EXPECT_EQ(r.callbacks.guard.on_spike, Reaction::roll_back);
  EXPECT_EQ(r.callbacks.guard.on_nan, Reaction::stop);
  EXPECT_EQ(r.log.tensorboard, fs::path("tb/x"));
  EXPECT_TRUE(r.log.console);
}

TEST_F(RecipeTest, SaysWhereAValueIsWrong) {
  EXPECT_PRED2(has, error({"optimizer.name=sgd"}), "override optimizer.name=sgd: optimizer.name: wants decoupled_adamw or adamw");
  EXPECT_PRED2(has, error({"scheduler.name=step"}), "no schedule is called \"step\"");
  EXPECT_PRED2(has, error({"max_duration=soon"}), "max_duration: \"soon\" is no time");
  EXPECT_PRED2(has, error({"max_duration=0.5dur"}), "max_duration: wants ba, ep, sp or tok");
  EXPECT_PRED2(has, error({"max_duration=2.5ba"}), "wants a whole number and a unit");
  EXPECT_PRED2(has, error({"max_duration=null"}), "max_duration: is missing");
  EXPECT_PRED2(has, error({"precision=amp_fp16"}), "wants fp32 or amp_bf16");
  EXPECT_PRED2(has, error({"global_train_batch_size=0"}), "global_train_batch_size");
  EXPECT_PRED2(has, error({"device_train_microbatch_size=many"}), "wants auto or a number of rows");
  EXPECT_PRED2(has, error({"optimizer.betas=[0.9]"}), "wants two numbers");
  EXPECT_PRED2(has, error({"optimizer.betas=[0.9, 1]"}), "wants a number from 0 up to 1");
  EXPECT_PRED2(has, error({"algorithms.gradient_clipping.clipping_type=adaptive"}), "wants norm or value");
  EXPECT_PRED2(has, error({"callbacks.loss_guard.nan=panic"}), "is no reaction");
  EXPECT_PRED2(has, error({"algorithms.ema.half_life=1ep"}), "algorithms.ema.half_life: wants a number of batches");
  EXPECT_PRED2(has, error({"algorithms.ema.smoothing=1"}), "algorithms.ema.smoothing: wants a number from 0 up to 1");
  EXPECT_PRED2(has, error({"algorithms.gradient_clipping={clipping_type: norm, clipping_threshold: 0}"}),
               "algorithms.gradient_clipping.clipping_threshold: wants a number above 0, got 0");
  for (const char* key : {"optimizer.lr", "optimizer.eps", "optimizer.weight_decay", "scheduler.alpha_f",
                          "algorithms.gradient_clipping.clipping_threshold", "callbacks.loss_guard.spike_factor"}) {
    for (const char* value : {".nan", ".inf"}) {
      const auto message = error({"algorithms.gradient_clipping.clipping_type=norm", std::string(key) + "=" + value});
      EXPECT_PRED2(has, message, std::string(key) + ": wants a number");
    }
  }
  EXPECT_PRED2(has, error({"eval_subset_num_batches=0"}), "eval_subset_num_batches: wants a number of batches of at least 1, or -1");
  EXPECT_PRED2(has, error({"model=foo"}), "override model=foo: model: wants a map");
  EXPECT_PRED2(has, error({"optimizer=adam"}), "override optimizer=adam: optimizer: wants a map with the key name");
  EXPECT_PRED2(has, error({"optimizer.lr=null", "optimizer.lrr=1"}), "optimizer.lr: is missing; there is optimizer.lrr");
  scratch_.put("text.yaml", trainlog_recipe(scratch_ / "", "{name: text, dataset: {local: x, max_seq_len: 8, mlm_probability: 0}}"));
  EXPECT_PRED2(has, error_of([&] { read_recipe(scratch_ / "text.yaml"); }), "train_loader.dataset.mlm_probability: wants a number above 0");
  EXPECT_PRED2(has, error({"expand_positional_embeddings=stretch"}), "is no way to grow");
  EXPECT_PRED2(has, error({"device=tpu"}), "wants cpu or gpu");
  EXPECT_PRED2(has, error({"model.use_pretrained=true"}), "named by load_path");
  EXPECT_PRED2(has, error({"model.name=gpt"}), "model.name");
  EXPECT_PRED2(has, error({"seed=-1"}), "seed");
  EXPECT_PRED2(has, error_of([] { read_generated_recipe(io::Tree{{"run_name", 3}}, "job", {"seed=x"}); }), "job: run_name: wants a string");
  EXPECT_PRED2(has, error_of([] { read_recipe("/nowhere.yaml"); }), "/nowhere.yaml: no such file");
  const auto list = scratch_.put("list.yaml", "- a\n");
  EXPECT_PRED2(has, error_of([&] { read_recipe(list); }), "wants a map of keys");
}

}  // namespace
}  // namespace m2bert::train
