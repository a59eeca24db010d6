// Whole runs: recipe, data, loop, checkpoints, output.
#include "m2bert/train/run.h"

#include <csignal>
#include <filesystem>

#include "m2bert/checkpoint/safetensors.h"
#include "m2bert/checkpoint/torch_file.h"
#include "m2bert/checkpoint/weights.h"
#include "m2bert/io/host_interrupt.h"
#include "m2bert/io/yaml.h"
#include "m2bert/models/pretrained.h"
#include "m2bert/train/metrics_file.h"
#include "tiny_run.h"

namespace m2bert::train {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::has;
using test::Scratch;

const std::vector<std::string> kQuick = {"max_duration=6ba", "save_interval=3ba", "scheduler.t_warmup=0ba"};

std::vector<std::string> with(std::vector<std::string> more, const std::vector<std::string>& base = kQuick) {
  more.insert(more.begin(), base.begin(), base.end());
  return more;
}

double loss_at(const std::vector<Record>& records, size_t i) { return *records.at(i).find("loss/train/total"); }

// Upstream's 30 steps again, through the recipe, loop and files of a run.
TEST(Pretrain, IsTheReferencesRun) {
  const Scratch scratch;
  const auto result = run_trainlog(scratch, {"save_interval=1ba"});
  EXPECT_EQ(result.time.batch, 30);
  EXPECT_EQ(result.time.token, 30 * 8 * 32);
  const auto outputs = golden::load_tensors(trainlog() / "outputs.safetensors");
  const auto records = read_metrics(scratch / "run/metrics.jsonl");
  ASSERT_EQ(records.size(), 30U);
  for (int i = 0; i < 30; ++i) {
    const double want = mx::take(outputs.at("loss"), i, 0).item<float>();
    EXPECT_NEAR(loss_at(records, size_t(i)), want, 1e-4 * want);
  }
  for (const int step : {1, 2, 5, 10}) {
    const auto saved = golden::load_tensors(scratch / ("run/ep0-ba" + std::to_string(step) + ".safetensors"));
    expect_upstream_parameters(step, [&](const std::string& name) { return saved.at(name); });
  }
}

TEST(Pretrain, RepeatsItselfBitForBit) {
  for (const char* precision : {"precision=fp32", "precision=amp_bf16"}) {
    const Scratch one, two;
    const auto overrides = with({"model.model_config.hidden_dropout_prob=0.1", "device_train_microbatch_size=3", precision});
    run_trainlog(one, overrides);
    run_trainlog(two, overrides);
    EXPECT_EQ(bytes_of(one / "run/model/model.safetensors"), bytes_of(two / "run/model/model.safetensors"));
    EXPECT_EQ(bytes_of(one / "run/metrics.jsonl"), bytes_of(two / "run/metrics.jsonl"));
    const Scratch other;
    run_trainlog(other, with({"seed=18"}, overrides));
    EXPECT_NE(bytes_of(one / "run/model/model.safetensors"), bytes_of(other / "run/model/model.safetensors"));
  }
}

// A run resumed from any of its checkpoints ends the same, with weight averaging and an evaluation on the way.
TEST(Pretrain, TheHookGetsEveryRecordAndMayInterrupt) {
  const Scratch scratch;
  scratch.put("recipe.yaml", trainlog_recipe(scratch / ""));
  const auto recipe = read_recipe(scratch / "recipe.yaml", kQuick);
  std::vector<Record> records;
  RunHooks hooks;
  hooks.on_record = [&](const Record& record) {
    records.push_back(record);
    if (records.size() == 4) io::interrupt(SIGINT);
  };
  const auto result = run(recipe, tasks::MaskedLM(recipe.model), Processes(), hooks);
  io::clear_interrupt();
  EXPECT_EQ(result.end, TrainingEnd::stopped);
  const auto written = read_metrics(scratch / "run/metrics.jsonl");
  ASSERT_EQ(records.size(), 4U);
  ASSERT_EQ(written.size(), 4U);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(metrics_line(records[i]), metrics_line(written[i]));
  EXPECT_TRUE(fs::exists(scratch / "run/ep0-ba4.safetensors"));
}

TEST(Pretrain, ResumesBitForBit) {
  const auto overrides = with({"max_duration=2ep", "train_subset_num_batches=4", "save_interval=3ba", "algorithms.ema.half_life=10ba",
                               "model.model_config.hidden_dropout_prob=0.1", "eval_loader=${train_loader}", "eval_subset_num_batches=1",
                               "eval_interval=2ba", "autoresume=true"});
  const Scratch whole;
  run_trainlog(whole, overrides);
  for (const char* name : {"ep0-ba3.safetensors", "ep1-ba6.safetensors"}) {
    const Scratch part;
    fs::create_directories(part / "run");
    fs::copy_file(whole / "run" / name, part / "run" / name);
    fs::copy_file(whole / "run/metrics.jsonl", part / "run/metrics.jsonl");
    const auto result = run_trainlog(part, overrides);
    EXPECT_EQ(result.time.batch, 8);
    EXPECT_EQ(bytes_of(part / "run/model/model.safetensors"), bytes_of(whole / "run/model/model.safetensors")) << name;
    EXPECT_EQ(bytes_of(part / "run/metrics.jsonl"), bytes_of(whole / "run/metrics.jsonl")) << name;
  }
}

TEST(Pretrain, FindsAFinishedRunFinished) {
  const Scratch scratch;
  const auto overrides = with({"autoresume=true", "eval_loader=${train_loader}", "eval_subset_num_batches=1"});
  run_trainlog(scratch, overrides);
  const auto metrics = bytes_of(scratch / "run/metrics.jsonl");
  const auto again = run_trainlog(scratch, overrides);
  EXPECT_EQ(again.time.batch, 6);
  EXPECT_TRUE(again.was_finished);
  EXPECT_EQ(bytes_of(scratch / "run/metrics.jsonl"), metrics);
}

TEST(Pretrain, DoesNotTouchAnEarlierRun) {
  const Scratch scratch;
  run_trainlog(scratch, kQuick);
  const auto model = bytes_of(scratch / "run/ep0-ba6.safetensors");
  const auto message = error_of([&] { run_trainlog(scratch, kQuick); });
  EXPECT_PRED2(has, message, "recipe.yaml:");
  EXPECT_PRED2(has, message, ": save_folder: ");
  EXPECT_PRED2(has, message, "holds checkpoints of an earlier run. autoresume=true resumes it, save_overwrite=true replaces it");
  EXPECT_EQ(bytes_of(scratch / "run/ep0-ba6.safetensors"), model);
  run_trainlog(scratch, with({"save_overwrite=true", "max_duration=2ba", "seed=3"}));
  EXPECT_TRUE(fs::exists(scratch / "run/ep0-ba2.safetensors"));
  EXPECT_FALSE(fs::exists(scratch / "run/ep0-ba6.safetensors"));
}

// The first two runs differ in settings with which a run may go on.
TEST(Pretrain, GoesOnWithItsOwnSettingsAndDataAlone) {
  const Scratch scratch;
  const auto resumed = [](std::vector<std::string> more) {
    more.insert(more.begin(), {"autoresume=true", "save_interval=2ba"});
    return with(more);
  };
  run_trainlog(scratch, kQuick);
  EXPECT_EQ(run_trainlog(scratch, resumed({"max_duration=7ba"})).time.batch, 7);
  const auto model = bytes_of(scratch / "run/ep0-ba7.safetensors"), recipe = bytes_of(scratch / "run/recipe.yaml");
  const auto message = error_of([&] { run_trainlog(scratch, resumed({"max_duration=9ba", "optimizer.lr=0.5", "seed=4"})); });
  EXPECT_PRED2(has, message, "run holds a run with other data or settings:\n  optimizer.lr: ");
  EXPECT_PRED2(has, message, ", now 0.5\n  seed: not set, now 4\n");
  EXPECT_PRED2(has, message, "load_path=" + (scratch / "run/latest.safetensors").string());
  EXPECT_EQ(message.find("max_duration: "), std::string::npos) << message;
  EXPECT_EQ(bytes_of(scratch / "run/recipe.yaml"), recipe);
  EXPECT_EQ(bytes_of(scratch / "run/ep0-ba7.safetensors"), model);
  // The remedies: another folder, or this one anew.
  const auto elsewhere = run_trainlog(scratch, with({"max_duration=9ba", "optimizer.lr=0.5", "save_folder=" + (scratch / "other").string(),
                                                     "load_path=" + (scratch / "run/latest.safetensors").string()}));
  EXPECT_EQ(elsewhere.time.batch, 9);
  run_trainlog(scratch, with({"seed=4", "save_overwrite=true"}));
  EXPECT_FALSE(fs::exists(scratch / "run/ep0-ba7.safetensors"));
}

TEST(Pretrain, RecognisesItsDataByTheirContent) {
  const Scratch scratch;
  fs::copy_file(trainlog() / "inputs.safetensors", scratch / "moved.safetensors");
  const auto file = [&](const fs::path& path) { return "{name: batches, file: " + path.string() + "}"; };
  const auto overrides = with({"autoresume=true"});
  run_trainlog(scratch, kQuick);
  EXPECT_TRUE(run_trainlog(scratch, overrides, file(scratch / "moved.safetensors")).was_finished);
  auto other = golden::load_tensors(trainlog() / "inputs.safetensors");
  checkpoint::TensorMap changed;
  for (const auto& [name, array] : other) changed.emplace_back(name, name == "input_ids" ? mx::maximum(array - 1, mx::array(0)) : array);
  checkpoint::save_safetensors(scratch / "moved.safetensors", changed);
  EXPECT_PRED2(has, error_of([&] { run_trainlog(scratch, overrides, file(scratch / "moved.safetensors")); }),
               "\n  train_loader: data with the hash ");
}

// A checkpoint of the encoder alone, as embedding and classification models have it.
TEST(Pretrain, StartsWithANewHeadWhereTheCheckpointHasNone) {
  const Scratch scratch, whole;
  auto weights = checkpoint::load_weights(trainlog() / "checkpoint.pt");
  std::erase_if(weights, [](const auto& w) { return w.first.starts_with("cls."); });
  weights.emplace_back("bert.pooler.dense.bias", mx::zeros({64}));
  checkpoint::save_safetensors(scratch / "encoder.safetensors", weights);
  const auto result = run_trainlog(scratch, with({"max_duration=1ba", "optimizer.lr=0", "optimizer.weight_decay=0",
                                                  "load_path=" + (scratch / "encoder.safetensors").string()}));
  EXPECT_GT(result.loss, 5);
  run_trainlog(whole, with({"max_duration=1ba", "optimizer.lr=0", "optimizer.weight_decay=0", "load_path=null"}));
  const auto saved = golden::load_tensors(scratch / "run/latest.safetensors"),
             initial = golden::load_tensors(whole / "run/latest.safetensors");
  for (const auto& [name, array] : weights) {
    if (!name.starts_with("bert.encoder.") || !saved.contains(name)) continue;
    EXPECT_TRUE(mx::array_equal(saved.at(name), array).item<bool>()) << name;
  }
  const char* head = "cls.predictions.transform.dense.weight";
  EXPECT_TRUE(mx::array_equal(saved.at(head), initial.at(head)).item<bool>());
}

// The folder of a run stands for its newest checkpoint, as a model and in load_path.
TEST(Pretrain, TheFolderOfARunIsAModel) {
  const Scratch scratch, second;
  run_trainlog(scratch, with({"save_interval=2ba"}));
  fs::remove_all(scratch / "run/model");
  const auto folder = checkpoint::load_weights(scratch / "run");
  const auto newest = golden::load_tensors(scratch / "run/ep0-ba6.safetensors");
  ASSERT_FALSE(folder.empty());
  for (const auto& [name, array] : folder) EXPECT_TRUE(mx::array_equal(array, newest.at(name)).item<bool>()) << name;
  std::ofstream(scratch / "run/ep0-ba9.safetensors") << "cut off";  // not complete: the one before it is taken
  EXPECT_EQ(checkpoint::load_weights(scratch / "run").size(), folder.size());
  fs::remove(scratch / "run/ep0-ba9.safetensors");
  const auto result = run_trainlog(second, with({"max_duration=8ba", "load_path=" + (scratch / "run").string()}));
  EXPECT_EQ(result.time.batch, 8);  // with its state
  EXPECT_EQ(read_metrics(second / "run/metrics.jsonl").size(), 2U);
}

TEST(Pretrain, TheWarmUpMayLastAsLongAsTheRun) {
  for (const char* warmup : {"scheduler.t_warmup=3ba", "scheduler.t_warmup=100ba", "scheduler.t_warmup=1dur"}) {
    const Scratch scratch;
    EXPECT_EQ(run_trainlog(scratch, with({"max_duration=3ba", warmup, "callbacks.lr_monitor={}"})).time.batch, 3);
    const auto records = read_metrics(scratch / "run/metrics.jsonl");
    EXPECT_GT(*records[2].find("lr-AdamW/all"), *records[1].find("lr-AdamW/all"));
  }
}

// Nothing is left of a run whose data cannot be read.
TEST(Pretrain, ChecksTheDataBeforeItWrites) {
  const Scratch scratch;
  error_of([&] { run_trainlog(scratch, with({"train_loader.file=/nowhere"})); });
  EXPECT_FALSE(fs::exists(scratch / "run"));
}

TEST(Pretrain, WritesAModelThatCommandsRead) {
  const Scratch scratch;
  const auto result = run_trainlog(scratch, with({"load_path=null"}));  // layers that begin with the same arrays
  EXPECT_EQ(result.model, scratch / "run/model");
  models::LoadOptions how;
  how.tokenizer = scratch / "vocab.txt";
  std::string vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
  for (int i = 5; i < 512; ++i) vocabulary += "w" + std::to_string(i) + "\n";
  scratch.put("vocab.txt", vocabulary);
  const auto folder = models::load_pretrained(result.model, how);
  const auto file = models::load_pretrained(scratch / "run/latest.safetensors", how);  // its config.json lies beside it
  const auto a = nn::named_arrays(*folder.model), b = nn::named_arrays(*file.model);
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(mx::array_equal(*a[i].array, *b[i].array).item<bool>()) << a[i].name;
  EXPECT_TRUE(io::read_yaml(scratch / "run/recipe.yaml").contains("model"));
}

TEST(Pretrain, StartsFromWeightsOfSeveralForms) {
  const Scratch first;
  run_trainlog(first, kQuick);
  checkpoint::save_composer_pt(first / "composer.pt", checkpoint::load_weights(first / "run/latest.safetensors"));
  std::vector<std::string> losses;
  for (const auto& path : {first / "composer.pt", first / "run/latest.safetensors", first / "run/model"}) {
    const Scratch scratch;
    run_trainlog(scratch, with({"load_path=" + path.string(), "load_weights_only=true"}));
    losses.push_back(bytes_of(scratch / "run/metrics.jsonl"));
  }
  EXPECT_EQ(losses[0], losses[1]);
  EXPECT_EQ(losses[0], losses[2]);
}

// Without load_weights_only, a checkpoint restores the optimizer and the position in the data as well.
TEST(Pretrain, GoesOnInAnotherFolder) {
  const Scratch whole, second;
  run_trainlog(whole, kQuick);
  run_trainlog(second, with({"load_path=" + (whole / "run/ep0-ba3.safetensors").string()}));
  EXPECT_EQ(bytes_of(second / "run/model/model.safetensors"), bytes_of(whole / "run/model/model.safetensors"));
}

TEST(Pretrain, StopsAtNaNAndKeepsTheLastGoodCheckpoint) {
  const Scratch scratch;
  const auto message = error_of([&] { run_trainlog(scratch, with({"optimizer.lr=1e30", "save_interval=1ba"})); });
  EXPECT_PRED2(has, message, "batch 2: loss nan");
  EXPECT_PRED2(has, message, "callbacks.loss_guard");
  EXPECT_TRUE(fs::exists(scratch / "run/ep0-ba1.safetensors"));
}

TEST(Pretrain, NeverSavesWhatTheLossFailedOf) {
  const Scratch scratch;
  error_of([&] { run_trainlog(scratch, with({"optimizer.lr=1e30", "save_interval=100ba"})); });
  EXPECT_FALSE(fs::exists(scratch / "run/ep0-ba1.safetensors"));
  const auto infinite = error_of([&] { run_trainlog(scratch, with({"optimizer.lr=1e300", "save_interval=1ba"})); });
  EXPECT_PRED2(has, infinite, "after batch 1 weights are NaN or infinite");
  EXPECT_PRED2(has, infinite, "there is no checkpoint");
  EXPECT_FALSE(fs::exists(scratch / "run/ep0-ba1.safetensors"));
}

TEST(Pretrain, RollsBackAndLeavesTheBatchesOut) {
  const Scratch scratch;
  // From the third batch on every loss counts as a spike: the run rewinds to the checkpoint after the first batch, until it gives up.
  const auto message = error_of([&] {
    run_trainlog(scratch, with({"max_duration=20ba", "save_interval=100ba",
                                "callbacks.loss_guard={spike: roll_back, window: 2, spike_factor: "
                                "1, max_roll_backs: 2}",
                                "optimizer.lr=1", "save_interval=2ba"}));
  });
  EXPECT_PRED2(has, message, "the loss failed again after the run went back 2 times to the same checkpoint");
}

TEST(Pretrain, DoesNotSkipForEver) {
  const Scratch scratch;
  const auto message =
      error_of([&] { run_trainlog(scratch, with({"callbacks.loss_guard={nan: skip, max_skips: 4}", "optimizer.lr=1e30"})); });
  EXPECT_PRED2(has, message, "4 batches in a row were left out already");
}

TEST(Pretrain, SaysWhatDoesNotFit) {
  const Scratch scratch;
  EXPECT_PRED2(has, error_of([&] { run_trainlog(scratch, {"global_train_batch_size=16"}); }), "its batches have 8 rows");
  EXPECT_PRED2(has, error_of([&] { run_trainlog(scratch, {"train_loader.file=/nowhere"}); }),
               "override train_loader.file=/nowhere: train_loader.file: /nowhere: no such file");
  EXPECT_PRED2(has, error_of([&] { run_trainlog(scratch, {"model.tokenizer_name=/no.txt"}); }),
               "override model.tokenizer_name=/no.txt: model.tokenizer_name: /no.txt: no such file");
  EXPECT_PRED2(has, error_of([&] { run_trainlog(scratch, {"max_seq_len=16", "load_path=null"}); }),
               "train_loader.file: the texts have up to 32 tokens, the model takes 16");
  EXPECT_PRED2(has, error_of([&] { run_trainlog(scratch, {"load_path=/nowhere.pt"}); }), "load_path: /nowhere.pt: no such file");
  EXPECT_PRED2(has, error_of([&] { run_trainlog(scratch, {"scheduler.t_warmup=3sp"}); }),
               "override scheduler.t_warmup=3sp: scheduler.t_warmup: 3sp and the length of the run, 30ba, count in different units");
  EXPECT_PRED2(has, error_of([&] { run_trainlog(scratch, {"model.model_config.num_hidden_layers=3"}); }), "do not fit the model");
  EXPECT_PRED2(has, error_of([&] { run_trainlog(scratch, {"model.model_config.vocab_size=64", "load_path=null"}); }),
               "the model has 64 tokens");
  EXPECT_PRED2(has, error_of([&] { run_trainlog(scratch, {"save_folder=/proc/none"}); }), "save_folder: cannot make /proc/none");
}

TEST(Pretrain, GrowsAShorterModel) {
  const Scratch scratch;
  const std::vector<std::string> longer = {"max_duration=1ba", "max_seq_len=64"};
  EXPECT_PRED2(has, error_of([&] { run_trainlog(scratch, longer); }), "expand_positional_embeddings: true lets it grow");
  for (const char* how : {"true", "reference", "recompute"}) {
    const Scratch each;
    run_trainlog(each, with({std::string("expand_positional_embeddings=") + how}, longer));
    const auto saved = golden::load_tensors(each / "run/latest.safetensors");
    EXPECT_EQ(saved.at("bert.embeddings.position_embeddings.weight").shape(0), 64);
    EXPECT_EQ(saved.at("bert.encoder.layer.0.attention.filter_fn.pos_emb.z").shape(1), 64);
  }
}

}  // namespace
}  // namespace m2bert::train
