// m2bert finetune glue and eval glue: sweeps with tiny models on tiny data.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <random>

#include "m2bert/io/file_lock.h"
#include "m2bert/io/json.h"
#include "tests/cli/program.h"
#include "tests/support/scratch.h"
#include "tests/support/tiny_models.h"

namespace m2bert::test {
namespace {

namespace fs = std::filesystem;

class FinetuneGlue : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(at("data/MNLI"));
    fs::create_directories(at("data/rte"));
    fs::create_directories(at("data/STS-B"));
    put_mnli();
    put_rte();
    put_stsb();
    scratch_.put(
        "glue.yaml",
        "parallel: true\nbase_run_name: tiny\ndefault_seed: 3\nprecision: fp32\n"
        "model: {name: bert, tokenizer_name: " +
            tiny_models().m2 + ", model_config: " + io::to_json(io::read_json(tiny_models().m2 + "/config.json")) +
            "}\nstarting_checkpoint_load_path: " + tiny_models().m2 + "\nsave_finetune_checkpoint_prefix: " + at("out") +
            "\nsave_finetune_checkpoint_folder: ${save_finetune_checkpoint_prefix}/${base_run_name}\n"
            "callbacks: {lr_monitor: {}}\n"
            "scheduler: {name: linear_decay_with_warmup, t_warmup: 0.06dur, alpha_f: 0.0}\n"
            "tasks:\n"
            "  mnli: {trainer_kwargs: {save_num_checkpoints_to_keep: 1, max_sequence_length: 32, max_duration: 1ep, batch_size: 8}}\n"
            "  rte: {seeds: [1, 2], trainer_kwargs: {save_num_checkpoints_to_keep: 0, max_sequence_length: 32, max_duration: 4ep, "
            "save_interval: 2ba, lr: 1e-3, optim_name: adamw, wd: 0.01}}\n"
            "  stsb: {trainer_kwargs: {save_num_checkpoints_to_keep: 0, max_sequence_length: 32, max_duration: 2ep}}\n");
  }
  std::string at(const std::string& name) const { return (scratch_ / name).string(); }
  std::vector<std::string> command(std::vector<std::string> more = {}) const {
    std::vector<std::string> all = {"finetune", "glue", at("glue.yaml"), "--data", at("data"), "--threads", "2", "--json"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  io::Tree table(const Outcome& outcome) const {
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.code == 0 ? io::parse_json(outcome.out, "stdout") : io::Tree();
  }
  static std::string scores(const io::Tree& table) { return io::to_json(table.at("rows")) + io::to_json(table.at("scores")); }

  void put_mnli() {
    static const char* labels[] = {"entailment", "neutral", "contradiction"};
    const auto rows = [](size_t first, size_t count) {
      std::string text = "index\tsentence1\tsentence2\tgold_label\n";
      for (size_t i = 0; i < count; ++i)
        text += std::to_string(i) + "\t" + sentence(first + i, 4) + "\t" + sentence(first + i + 7, 3) + "\t" + labels[i % 3] + "\n";
      return text;
    };
    for (const auto& [name, first, count] : {std::tuple("train", 0, 24), {"dev_matched", 100, 9}, {"dev_mismatched", 200, 9}})
      scratch_.put("data/MNLI/" + std::string(name) + ".tsv", rows(size_t(first), size_t(count)));
    for (const std::string name : {"test_matched", "test_mismatched"})
      scratch_.put("data/MNLI/" + name + ".tsv", "index\tsentence1\tsentence2\n0\t" + sentence(1, 4) + "\t" + sentence(2, 4) + "\n");
  }
  void put_rte() {
    const auto rows = [](size_t first, size_t count, bool labelled) {
      std::string text;
      for (size_t i = 0; i < count; ++i)
        text += "{\"sentence1\":\"" + sentence(first + i, 4) + "\",\"sentence2\":\"" + sentence(first + i + 3, 2) +
                "\",\"label\":" + (labelled ? std::to_string(i % 2) : "-1") + ",\"idx\":" + std::to_string(i) + "}\n";
      return text;
    };
    scratch_.put("data/rte/train.jsonl", rows(0, 32, true));
    scratch_.put("data/rte/validation.jsonl", rows(100, 10, true));
    scratch_.put("data/rte/test.jsonl", rows(200, 5, false));
  }
  void put_stsb() {
    const auto rows = [](size_t first, size_t count, bool labelled) {
      std::string text = std::string("index\tsentence1\tsentence2") + (labelled ? "\tscore\n" : "\n");
      for (size_t i = 0; i < count; ++i)
        text += std::to_string(i) + "\t" + sentence(first + i, 4) + "\t" + sentence(first + i * 3, 4) +
                (labelled ? "\t" + std::to_string(double(i % 6) - 0.5 * double(i % 2)) : "") + "\n";
      return text;
    };
    scratch_.put("data/STS-B/train.tsv", rows(0, 40, true));
    scratch_.put("data/STS-B/dev.tsv", rows(100, 12, true));
    scratch_.put("data/STS-B/test.tsv", rows(200, 4, false));
  }
  Scratch scratch_;
};

TEST_F(FinetuneGlue, RunsAllTasksAndPrintsTheTable) {
  const auto result = table(run(command({"--jobs", "2", "--submission", at("submission")})));
  EXPECT_EQ(result.at("rows").size(), 4u);
  EXPECT_EQ(result.find_path("rows.3.values")->size(), 2u);  // RTE, two seeds
  EXPECT_EQ(io::to_json(*result.find_path("rows.3.seeds")), "[1,2]");
  const io::Tree& scores = result.at("scores");
  EXPECT_NEAR(result.at("glue").number(), (scores.at("stsb").number() + scores.at("mnli").number() + scores.at("rte").number()) / 3, 1e-9);
  EXPECT_TRUE(fs::exists(at("out/tiny/task=mnli/seed=3/model/model.safetensors")));  // save_num_checkpoints_to_keep: 1
  EXPECT_FALSE(fs::exists(at("out/tiny/task=rte/seed=1/model")));
  EXPECT_FALSE(fs::exists(at("out/tiny/task=rte/seed=1/latest.safetensors")));
  EXPECT_TRUE(has(content(at("out/tiny/glue.html")), "<td>glue_rte</td>"));
  EXPECT_TRUE(has(content(at("out/tiny/glue.md")), "| rte | glue_rte | MulticlassAccuracy | 2 |"));
  EXPECT_TRUE(has(content(at("submission/RTE.tsv")), "index\tprediction\n0\t"));
  EXPECT_TRUE(has(content(at("submission/RTE.tsv")), "entailment\n"));
  EXPECT_TRUE(fs::exists(at("submission/MNLI-m.tsv")) && fs::exists(at("submission/MNLI-mm.tsv")));
  EXPECT_TRUE(has(content(at("submission/STS-B.tsv")), "\n3\t"));

  // Again: nothing is left to do, and the table is the same.
  const auto again = run(command());
  EXPECT_TRUE(has(again.err, "4 of 4 jobs are done already"));
  EXPECT_EQ(FinetuneGlue::scores(table(again)), FinetuneGlue::scores(result));
  // One result is missing.
  fs::remove_all(at("out/tiny/task=rte/seed=2"));
  const auto one = run(command());
  EXPECT_TRUE(has(one.err, "3 of 4 jobs are done already"));
  EXPECT_EQ(FinetuneGlue::scores(table(one)), FinetuneGlue::scores(result));

  // The model that was kept, on its own data.
  const auto evaluated =
      run({"eval", "glue", at("out/tiny/task=mnli/seed=3/model"), "--data", at("data"), "--task", "mnli", "--max-length", "32", "--json"});
  ASSERT_EQ(evaluated.code, 0) << evaluated.err;
  const auto metrics = io::parse_json(evaluated.out, "stdout");
  EXPECT_NEAR(metrics.at("glue_mnli").at("MulticlassAccuracy").number() * 100, result.find_path("rows.1.mean")->number(), 1e-6);
  const auto rounded = run({"eval", "glue", at("out/tiny/task=mnli/seed=3/model"), "--data", at("data"), "--task", "mnli", "--max-length",
                            "32", "--precision", "amp_bf16", "--json"});
  ASSERT_EQ(rounded.code, 0) << rounded.err;
  const double loss = metrics.at("glue_mnli").at("CrossEntropy").number(),
               rounded_loss = io::parse_json(rounded.out, "stdout").at("glue_mnli").at("CrossEntropy").number();
  EXPECT_NE(rounded_loss, loss);
  EXPECT_NEAR(rounded_loss, loss, 0.05);
  EXPECT_TRUE(has(run({"eval", "glue", at("out/tiny/task=mnli/seed=3/model"), "--data", at("data"), "--task", "rte"}).err,
                  "was not trained for rte, whose labels are entailment, not_entailment"));
}

TEST_F(FinetuneGlue, TasksStartFromMnli) {
  const auto outcome = run(command({"--start-from-mnli", "tasks.rte.seeds=[1]"}));
  EXPECT_TRUE(table(outcome).contains("glue"));
  EXPECT_TRUE(
      has(content(at("out/tiny/task=rte/seed=1/job.log")), "starting from the weights of " + at("out/tiny/task=mnli/seed=3/model")));
  EXPECT_LT(outcome.err.find("mnli(seed=3): done"), outcome.err.find("rte(seed=1): started"));
}

TEST_F(FinetuneGlue, TasksWaitForMnliInARelativeFolder) {
  const std::string folder = "save_finetune_checkpoint_folder=" + fs::relative(at("out/tiny")).string();
  const auto outcome = run(command({"--start-from-mnli", "--jobs", "2", folder}));
  EXPECT_TRUE(table(outcome).contains("glue"));
  EXPECT_LT(outcome.err.find("mnli(seed=3): done"), outcome.err.find("rte(seed=1): started"));
}

// The models of most jobs are gone by then.
TEST_F(FinetuneGlue, ASubmissionCanBeAskedForLater) {
  table(run(command({"--jobs", "2"})));
  const auto later = run(command({"--submission", at("submission")}));
  EXPECT_TRUE(has(later.err, "4 of 4 jobs are done already")) << later.err;
  EXPECT_TRUE(has(content(at("submission/RTE.tsv")), "entailment\n"));
  EXPECT_TRUE(fs::exists(at("submission/MNLI-m.tsv")) && fs::exists(at("submission/STS-B.tsv")));
}

TEST_F(FinetuneGlue, SomeTasks) {
  const auto result = table(run(command({"--tasks", "rte,stsb", "tasks.rte.seeds=[1]"})));
  EXPECT_EQ(result.at("rows").size(), 2u);
  EXPECT_FALSE(fs::exists(at("out/tiny/task=mnli")));
  EXPECT_TRUE(has(run(command({"--tasks", "cola"})).err, "--tasks: " + at("glue.yaml") + " has no task cola"));
  EXPECT_TRUE(has(run(command({"--tasks", "rte", "--start-from-mnli"})).err, "rte starts from the model of MNLI"));
}

TEST_F(FinetuneGlue, OneSweepAFolder) {
  fs::create_directories(at("out/tiny"));
  const io::FileLock lock(at("out/tiny/.lock"));
  const auto outcome = run(command());
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(has(outcome.err, "out/tiny: another sweep is running in this folder")) << outcome.err;
}

TEST_F(FinetuneGlue, AJobThatFailsDoesNotStopTheOthers) {
  scratch_.put("data/STS-B/train.tsv", "index\tsentence1\tsentence2\tscore\n0\ta\tb\tnan\n");
  const auto outcome = run(command());
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(has(outcome.err, "these jobs of the sweep failed, the others are done:\n  stsb(seed=3): "));
  EXPECT_TRUE(has(outcome.err, "train.tsv:2: \"score\" is NaN"));
  EXPECT_TRUE(fs::exists(at("out/tiny/task=rte/seed=2/result.json")));
}

TEST_F(FinetuneGlue, AStoppedSweepSaysSo) {
  HowToRun how;
  how.signal = 2;
  how.signal_when = [&] { return has(content(at("out/tiny/task=mnli/seed=3/job.log")), "parameters"); };
  const auto outcome = run(command({"tasks.mnli.trainer_kwargs.max_duration=1000ep"}), how);
  EXPECT_EQ(outcome.code, 130);
  EXPECT_TRUE(has(outcome.err, "mnli(seed=3): stopped\nstopped; the same command goes on with what is missing\n")) << outcome.err;
}

TEST_F(FinetuneGlue, TheErrorOfAJobIsItsFirstLine) {
  const auto outcome = run(command({"model.model_config.hidden_size=24"}));
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(has(outcome.err, "mnli(seed=3): failed: ")) << outcome.err;
  EXPECT_TRUE(has(outcome.err, "the weights do not fit the model")) << outcome.err;
  EXPECT_EQ(outcome.err.find("rte(seed=1):1"), std::string::npos) << outcome.err;  // no line of a recipe that nobody sees
  EXPECT_TRUE(has(outcome.err, "rte(seed=2): failed in the same way")) << outcome.err;
  EXPECT_TRUE(has(outcome.err, "\n  mnli(seed=3), rte(seed=1), rte(seed=2), stsb(seed=3): ")) << outcome.err;
}

TEST_F(FinetuneGlue, Problems) {
  EXPECT_TRUE(has(run({"eval", "glue", tiny_models().m2, "--data", at("data/MNLI"), "--task", "mnli"}).err,
                  "data/MNLI: has no folder MNLI (official) or mnli (as on the hub)"));
  EXPECT_TRUE(has(run(command({"tasks.cola.seeds=[1]"})).err, "has no folder for the task cola"));
  EXPECT_TRUE(has(run({"finetune", "glue", at("glue.yaml"), "--data", at("nothing")}).err, "nothing: no such folder"));
  ASSERT_EQ(run(command({"tasks.rte.seeds=[1]"})).code, 0);
  EXPECT_TRUE(has(run(command({"tasks.rte.seeds=[1]", "tasks.rte.trainer_kwargs.lr=1e-4"})).err, "was run with other settings or data"));
}

// A kill can come at any moment: while jobs start, train, save, or write results. M2BERT_GLUE_KILLS sets how many there are.
TEST_F(FinetuneGlue, KilledAtRandomMomentsItEndsWithTheSameTable) {
  const auto begin = std::chrono::steady_clock::now();
  const auto wanted = scores(table(run(command({"--jobs", "2"}))));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const char* given = std::getenv("M2BERT_GLUE_KILLS");
  const int kills = given ? std::atoi(given) : 3;
  fs::remove_all(at("out"));
  std::mt19937 random(std::random_device{}());
  for (int i = 0; i < kills; ++i) {
    HowToRun how;
    how.signal = i % 3 == 2 ? 15 : 9;
    how.signal_after = std::uniform_real_distribution(0.02, seconds * 0.9)(random);
    const auto outcome = run(command({"--jobs", "2"}), how);
    if (outcome.code == 0) {  // it was done before the signal
      EXPECT_EQ(scores(table(outcome)), wanted);
      fs::remove_all(at("out"));
    }
  }
  EXPECT_EQ(scores(table(run(command({"--jobs", "2"})))), wanted);
}

}  // namespace
}  // namespace m2bert::test
