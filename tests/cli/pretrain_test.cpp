// m2bert pretrain and report: output, stopped and killed runs, full disks.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <random>

#include "m2bert/io/json.h"
#include "tests/cli/program.h"
#include "tests/cli/training_recipe.h"
#include "tests/support/scratch.h"

namespace m2bert::test {
namespace {

namespace fs = std::filesystem;

class Pretrain : public ::testing::Test {
 protected:
  Pretrain() { scratch_.put("r.yaml", training_recipe(scratch_.folder().string())); }

  std::vector<std::string> command(std::vector<std::string> more = {}) const {
    more.insert(more.begin(), {"pretrain", (scratch_ / "r.yaml").string(), "--threads", "1"});
    return more;
  }
  std::string at(const std::string& name) const { return (scratch_ / name).string(); }
  std::string bytes(const std::string& name) const { return content(at(name)); }
  // The batch of the newest checkpoint, -1 without one.
  int64_t newest() const {
    int64_t batch = -1;
    std::error_code none;
    for (const auto& file : fs::directory_iterator(scratch_ / "run", none)) {
      const std::string name = file.path().filename().string();
      const size_t place = name.find("-ba");
      if (name.starts_with("ep") && place != std::string::npos && name.ends_with(".safetensors")) {
        batch = std::max<int64_t>(batch, std::atoll(name.c_str() + place + 3));
      }
    }
    return batch;
  }
  Scratch scratch_;
};

#ifdef __linux__
// Forward, backward, the optimizer's pass and the evaluation share one pool. A run has these other threads, whatever --threads says:
// the main one, MLX's, and those that read data.
TEST_F(Pretrain, HasAsManyThreadsAsAskedFor) {
  HowToRun counting;
  counting.count_threads = true;
  const auto threads_with = [&](int count) {
    const auto outcome = run({"pretrain", at("r.yaml"), "max_duration=6ba", "eval_loader=${train_loader}", "eval_subset_num_batches=1",
                              "save_folder=" + at("run" + std::to_string(count)), "--threads", std::to_string(count), "--quiet"},
                             counting);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.peak_threads;
  };
  const size_t one = threads_with(1);
  for (const int count : {2, 3, 5}) EXPECT_EQ(threads_with(count), one + size_t(count) - 1);
}
#endif

TEST_F(Pretrain, PrintsTheRecipeAndTheResult) {
  const auto outcome = run(command(
      {"max_duration=4ba", "eval_loader=${train_loader}", "eval_subset_num_batches=1", "log_to_console=true", "callbacks.lr_monitor={}"}));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_PRED2(has, outcome.err, "max_duration: \"4ba\"");
  EXPECT_PRED2(has, outcome.err, "keys without effect here: mlm_probability");
  EXPECT_PRED2(has, outcome.err, "batch 4 of 4: loss ");
  EXPECT_PRED2(has, outcome.err, "batch 4 of 4: evaluation: cross entropy ");
  EXPECT_PRED2(has, outcome.out, "trained 4 batches, 1,024 tokens");
  EXPECT_PRED2(has, outcome.out, "model: " + at("run/model"));
}

// Every command that is given the folder of a run takes the weights of its final model.
TEST_F(Pretrain, ARunStandsForItsAverages) {
  ASSERT_EQ(run(command({"max_duration=4ba", "algorithms.ema.half_life=2ba", "eval_loader=${train_loader}"})).code, 0);
  std::string words = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\none\ntext\n";
  for (int i = 7; i < 512; ++i) words += "w" + std::to_string(i) + "\n";
  scratch_.put("vocab.txt", words);
  auto embed = [&](const std::string& model) {
    const auto outcome =
        run({"embed", "--model", at(model), "--text", "one text", "--threads", "1", "--pooling", "mean", "--tokenizer", at("vocab.txt")});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome;
  };
  const auto of_run = embed("run");
  EXPECT_TRUE(has(of_run.err, "averaged weights (algorithms.ema) are used")) << of_run.err;
  EXPECT_EQ(of_run.out, embed("run/model").out);
  ASSERT_EQ(run({"convert", at("run"), at("converted"), "--tokenizer", at("vocab.txt")}).code, 0);
  EXPECT_EQ(of_run.out, embed("converted").out);
  const std::vector<std::string> convert = {"convert", at("run/ep0-ba4.safetensors"), at("named.safetensors"), "--weights",
                                            "algorithms.ema"};
  ASSERT_EQ(run(convert).code, 0);
  fs::create_directory(scratch_ / "named");
  fs::rename(scratch_ / "named.safetensors", scratch_ / "named/model.safetensors");
  fs::copy(scratch_ / "run/model/config.json", scratch_ / "named/config.json");
  EXPECT_EQ(of_run.out, embed("named").out);
  const auto evaluated = run({"eval", "mlm", at("run/recipe.yaml"), "--threads", "1"});
  EXPECT_EQ(evaluated.code, 0) << evaluated.err;
  EXPECT_TRUE(has(evaluated.err, "algorithms.ema) are used")) << evaluated.err;
  EXPECT_FALSE(has(evaluated.err, "more than one copy")) << evaluated.err;
  const auto next = run(command({"load_path=" + at("run"), "load_weights_only=true", "max_duration=1ba", "save_folder=" + at("next")}));
  EXPECT_EQ(next.code, 0) << next.err;
  EXPECT_FALSE(has(next.err, "are used")) << next.err;
  EXPECT_TRUE(has(next.err, "not that below 'algorithms.ema'")) << next.err;
}

TEST_F(Pretrain, AutoMeasuresTheRowsOfAMicrobatch) {
  const auto outcome = run(command({"max_duration=1ba", "device_train_microbatch_size=auto"}));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_PRED2(has, outcome.err, "device_train_microbatch_size: 8 rows (a row of 32 tokens takes ");
}

TEST_F(Pretrain, Json) {
  const auto outcome = run(command({"max_duration=2ba", "--json", "eval_loader=${train_loader}", "eval_subset_num_batches=1"}));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto lines = json_lines(outcome.out);
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0].at("batches").integer(), 2);
  EXPECT_EQ(lines[0].at("tokens").integer(), 2 * 8 * 32);
  EXPECT_GT(lines[0].at("loss").number(), 1);
  EXPECT_GT(lines[0].at("evaluation").at("perplexity").number(), 1);
}

TEST_F(Pretrain, QuietSaysNothingButWarnings) {
  const auto outcome = run(command({"max_duration=1ba", "--quiet", "mlm_probability=null"}));
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.err, "");
}

TEST_F(Pretrain, WrongInputIsOneClearError) {
  struct Case {
    std::vector<std::string> overrides;
    const char* message;
  };
  const std::vector<Case> cases = {{{"max_duration=soon"}, "\"soon\" is no time"},
                                   {{"train_loader.file=/nowhere"}, "/nowhere: no such file"},
                                   {{"train_loader.name=csv"}, "train_loader.name: wants"},
                                   {{"model.model_config.hidden_size=63"}, "do not fit the model"},
                                   {{"load_path=org/no/such"}, "no such file, folder or name"},
                                   {{"optimizer.lr=nan"}, "optimizer.lr"}};
  for (const auto& c : cases) {
    const auto outcome = run(command(c.overrides));
    EXPECT_EQ(outcome.code, 1) << c.overrides[0];
    EXPECT_PRED2(has, outcome.err, c.message);
    EXPECT_EQ(outcome.out, "");
  }
  EXPECT_EQ(run({"pretrain"}).code, 2);
  EXPECT_EQ(run(command({"--rank", "1"})).code, 2);
  EXPECT_PRED2(has, run(command({"no_equals_sign"})).err, "no_equals_sign");
}

TEST_F(Pretrain, AClosedPipeDoesNotEndIt) {
  const Outcome outcome = run(command({"max_duration=12ba", "log_to_console=true"}), {.closed_pipe = true});
  EXPECT_EQ(outcome.code, 1);  // the result could not be printed
  EXPECT_PRED2(has, run(command({"max_duration=12ba", "autoresume=true"})).out, "nothing was left to do: the run had trained 12 batches");
}

TEST_F(Pretrain, StopsAtASignalAndGoesOn) {
  ASSERT_EQ(run(command({"save_folder=" + at("whole"), "max_duration=300ba"})).code, 0);
  for (const int signal : {SIGTERM, SIGINT}) {
    fs::remove_all(scratch_ / "run");
    HowToRun how;
    how.signal = signal;
    Outcome outcome;
    for (double seconds = 0.3; newest() < 3 || outcome.code == 0; seconds += 0.1) {  // hit it in the middle
      ASSERT_LT(seconds, 20) << outcome.err;
      fs::remove_all(scratch_ / "run");
      how.signal_after = seconds;
      outcome = run(command({"max_duration=300ba"}), how);
    }
    EXPECT_EQ(outcome.code, 128 + signal);
    EXPECT_PRED2(has, outcome.err,
                 "stopped after " + std::to_string(newest()) + " batches; they are saved in " + at("run") +
                     ", and the same command with autoresume=true resumes from there");
    EXPECT_EQ(outcome.out, "");
    ASSERT_EQ(run(command({"max_duration=300ba", "autoresume=true"})).code, 0);
    EXPECT_EQ(bytes("run/model/model.safetensors"), bytes("whole/model/model.safetensors"));
    EXPECT_EQ(bytes("run/metrics.jsonl"), bytes("whole/metrics.jsonl"));
  }
}

// script/kills repeats it 200 times, at different moments.
// Evaluations take nearly all of this run's time, so signals interrupt them; the resumed run completes them.
TEST_F(Pretrain, StoppedInAnEvaluationItGoesOnWithIt) {
  const std::vector<std::string> overrides = {"max_duration=6ba", "eval_loader=${train_loader}", "eval_interval=1ba", "autoresume=true",
                                              "train_subset_num_batches=30"};
  auto whole = overrides;
  whole.push_back("save_folder=" + at("whole"));
  ASSERT_EQ(run(command(whole)).code, 0);
  const auto lines = [&] { return std::ranges::count(content(at("run/metrics.jsonl")), '\n'); };
  int stops = 0;
  for (Outcome outcome{1}; outcome.code != 0; ++stops) {
    ASSERT_LT(stops, 20);
    HowToRun how;
    how.signal = SIGTERM;
    const auto before = lines();
    how.signal_when = [&] { return lines() > before; };
    outcome = run(command(overrides), how);
    ASSERT_TRUE(outcome.code == 0 || outcome.code == 128 + SIGTERM) << outcome.err;
    if (outcome.code == 0) continue;
    EXPECT_PRED2(has, outcome.err, ", and the same command resumes from there");
  }
  EXPECT_GT(stops, 2);
  EXPECT_EQ(bytes("run/metrics.jsonl"), bytes("whole/metrics.jsonl"));
}

TEST_F(Pretrain, KilledAtRandomMomentsItLosesNothing) {
  constexpr int kills = 10;
  static unsigned seed = 11;
  const std::vector<std::string> overrides = {"max_duration=90ba", "autoresume=true", "model.model_config.hidden_dropout_prob=0.1",
                                              "algorithms.ema.half_life=20ba"};
  auto whole = overrides;
  whole.push_back("save_folder=" + at("whole"));
  const auto start = std::chrono::steady_clock::now();
  ASSERT_EQ(run(command(whole)).code, 0);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::mt19937 random(seed++);
  int finished = 0;
  for (int done = 0; done < kills || finished == 0;) {
    const int64_t before = newest();
    HowToRun how;
    if (done < kills) how.signal_after = std::uniform_real_distribution(0.02, 0.8 * seconds)(random);
    const auto outcome = run(command(overrides), how);
    ASSERT_TRUE(outcome.code == 0 || outcome.code == 137) << outcome.err;
    EXPECT_GE(newest(), before);  // nothing beyond the last checkpoint was lost
    if (before > 0 && outcome.err.find("parameters") != std::string::npos) {
      EXPECT_PRED2(has, outcome.err, "resuming from");
    }
    done += outcome.code == 137;
    if (outcome.code != 0) continue;
    ++finished;
    EXPECT_EQ(bytes("run/model/model.safetensors"), bytes("whole/model/model.safetensors"));
    EXPECT_EQ(bytes("run/metrics.jsonl"), bytes("whole/metrics.jsonl"));
    for (const auto& file : fs::directory_iterator(scratch_ / "run")) {
      EXPECT_EQ(file.path().filename().string().find(".part-"), std::string::npos) << file.path();
    }
    fs::remove_all(scratch_ / "run");
  }
}

TEST_F(Pretrain, AFullDiskLeavesTheLastGoodCheckpoint) {
  ASSERT_EQ(run(command({"max_duration=3ba"})).code, 0);
  HowToRun how;
  how.largest_file = fs::file_size(scratch_ / "run/ep0-ba3.safetensors") / 2;
  const auto outcome = run(command({"max_duration=9ba", "autoresume=true"}), how);
  EXPECT_EQ(outcome.code, 1);
  EXPECT_PRED2(has, outcome.err, "no checkpoint could be saved: ");
  EXPECT_PRED2(has, outcome.err, "(the last good one is " + at("run/ep0-ba3.safetensors") + ")");
  EXPECT_EQ(fs::read_symlink(scratch_ / "run/latest.safetensors"), "ep0-ba3.safetensors");
  EXPECT_EQ(newest(), 3);
  const auto again = run(command({"max_duration=9ba", "autoresume=true"}));
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_PRED2(has, again.err, "resuming from " + at("run/ep0-ba3.safetensors"));
}

TEST_F(Pretrain, TellsWhichKeysChangedSinceTheCheckpoint) {
  ASSERT_EQ(run(command({"max_duration=3ba"})).code, 0);
  const auto finished = run(command({"max_duration=2ba", "autoresume=true", "--quiet"}));
  EXPECT_EQ(finished.code, 0);
  EXPECT_PRED2(has, finished.err, "the recipe is not the one that the checkpoint was made with:\n  max_duration: \"3ba\", now \"2ba\"\n");
  EXPECT_PRED2(has, finished.out, "nothing was left to do: the run had trained 3 batches");
  const auto other = run(command({"max_duration=6ba", "optimizer.lr=1e-4", "autoresume=true", "--quiet"}));
  EXPECT_EQ(other.code, 1);
  EXPECT_PRED2(has, other.err, "holds a run with other data or settings:\n  optimizer.lr: 0.003, now 1e-04\n");
  EXPECT_EQ(newest(), 3);
}

TEST_F(Pretrain, EvalMlmGivesTheNumbersOfTheRun) {
  const std::vector<std::string> data = {"eval_loader=${train_loader}", "eval_subset_num_batches=2"};
  auto training = data;
  training.insert(training.end(), {"max_duration=3ba", "--json", "--quiet"});
  const auto trained = json_lines(run(command(training)).out).at(0).at("evaluation");
  const auto evaluate = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"eval", "mlm", at("r.yaml"), "mlm_probability=null", "--threads", "1", "--quiet"});
    more.insert(more.end(), data.begin(), data.end());
    return run(more);
  };
  const std::vector<std::vector<std::string>> models = {
      {}, {"--model", at("run")}, {"--model", at("run/model")}, {"--model", at("run/latest.safetensors")}};
  for (auto more : models) {
    more.emplace_back("--json");
    const auto outcome = evaluate(more);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const auto line = json_lines(outcome.out).at(0);
    for (const char* key : {"cross_entropy", "accuracy", "perplexity", "samples"}) EXPECT_EQ(line.at(key), trained.at(key)) << key;
  }
  const auto text = evaluate({"--model", at("run")});
  EXPECT_PRED2(has, text.out, at("run/ep0-ba3.safetensors") + ": cross entropy ");
  EXPECT_PRED2(has, text.out, " (16 samples)\n");
  EXPECT_PRED2(has, evaluate({"--model", at("nowhere")}).err, at("nowhere") + ": no such file, folder or name of a model on the hub");
  fs::rename(at("run"), at("moved"));  // its name is not looked up on the hub
  EXPECT_PRED2(has, evaluate({}).err, "save_folder: " + at("run") + " holds no checkpoint to evaluate; give --model");
  EXPECT_PRED2(has, evaluate({"eval_subset_num_batchs=1"}).err, "did you mean eval_subset_num_batches?");
}

TEST_F(Pretrain, PathsHaveTheNumbersOfTheProcesses) {
  const std::string folder = at("run") + "/{world_size}-{local_world_size}-{node_rank}-{local_rank}-{rank}";
  const auto outcome = run(command({"max_duration=1ba", "save_folder=" + folder, "--launch", "2", "--quiet"}));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_TRUE(fs::exists(scratch_ / "run/2-2-0-0-0/model"));
}

TEST_F(Pretrain, RefusesMisspeltOverrides) {
  const auto outcome = run(command({"max_duratoin=3ba"}));
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(
      outcome.err,
      "error: override max_duratoin=3ba: max_duratoin: is not a key that a recipe has; did you mean max_duration? (--allow-unknown ignores "
      "it)\n");
  const auto allowed = run(command({"max_duratoin=3ba", "max_duration=1ba", "--allow-unknown", "--quiet"}));
  EXPECT_EQ(allowed.code, 0);
  EXPECT_PRED2(has, allowed.err, "keys without effect here: mlm_probability, max_duratoin");
}

TEST_F(Pretrain, ChecksTheDataBeforeItPrintsTheRecipe) {
  const auto outcome = run(command({"train_loader.file=/nowhere"}));
  EXPECT_EQ(outcome.err, "error: override train_loader.file=/nowhere: train_loader.file: /nowhere: no such file\n");
  EXPECT_FALSE(fs::exists(scratch_ / "run"));
}

TEST_F(Pretrain, TheFolderOfARunIsAModel) {
  ASSERT_EQ(run(command({"max_duration=3ba"})).code, 0);
  std::string vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
  for (int i = 5; i < 512; ++i) vocabulary += "w" + std::to_string(i) + "\n";
  scratch_.put("vocab.txt", vocabulary);
  const auto words = [&](const std::string& model) {
    const auto outcome = run({"fill-mask", "--model", model, "--tokenizer", at("vocab.txt"), "--text", "w9 [MASK] w11", "--quiet"});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.out;
  };
  EXPECT_EQ(words(at("run")), words(at("run/model")));
}

TEST_F(Pretrain, ReportIsOnePage) {
  ASSERT_EQ(run(command({"max_duration=4ba"})).code, 0);
  ASSERT_EQ(run(command({"max_duration=4ba", "save_folder=" + at("two"), "seed=2"})).code, 0);
  const std::vector<std::string> report = {"report", at("run"), at("two"), "-o", at("r.html")};
  const auto outcome = run(report);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, at("r.html") + ": 2 runs\n");
  EXPECT_PRED2(has, bytes("r.html"), "<polyline");
  auto json = report;  // over its own page
  json.insert(json.end(), {"--json", "--along", "token"});
  const auto lines = json_lines(run(json).out);
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0].at("runs").items()[1].at("batches").integer(), 4);
  EXPECT_PRED2(has, bytes("r.html"), ">tokens<");
  scratch_.put("r.html", "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>mine</title></head></html>\n");
  EXPECT_PRED2(has, run(report).err, "--overwrite replaces it");
  EXPECT_EQ(run({"report", at("nowhere")}).code, 1);
  EXPECT_EQ(run({"report", at("run"), "-o", at("run/metrics.jsonl"), "--overwrite"}).code, 1);
}

}  // namespace
}  // namespace m2bert::test
