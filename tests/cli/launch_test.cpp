// Several processes of m2bert pretrain as one run.
#include <gtest/gtest.h>
#include <signal.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <sstream>
#include <thread>

#include "m2bert/io/json.h"
#include "tests/cli/program.h"
#include "tests/cli/training_recipe.h"
#include "tests/support/scratch.h"

namespace m2bert::test {
namespace {

namespace fs = std::filesystem;

class Launch : public ::testing::Test {
 protected:
  Launch() {
    scratch_.put("r.yaml", training_recipe(scratch_.folder().string()));
#ifndef __linux__
    skip_ = true;
#endif
  }
  void SetUp() override {
    if (skip_) GTEST_SKIP() << "looks into /proc";
  }

  std::vector<std::string> command(std::vector<std::string> more) const {
    more.insert(more.begin(), {"pretrain", (scratch_ / "r.yaml").string(), "--threads", "1"});
    return more;
  }
  std::string at(const std::string& name) const { return (scratch_ / name).string(); }

  std::vector<double> losses(const std::string& folder) const {
    std::vector<double> all;
    for (const auto& line : json_lines(content(at(folder + "/metrics.jsonl")))) all.push_back(line.at("loss/train/total").number());
    return all;
  }

  // The process of that rank whose command line names this test's folder.
  pid_t process_of_rank(int rank) const {
    for (const auto& entry : fs::directory_iterator("/proc")) {
      const std::string name = entry.path().filename().string();
      if (name.find_first_not_of("0123456789") != std::string::npos) continue;
      if (content(entry.path().string() + "/cmdline").find(scratch_.folder().string()) == std::string::npos) continue;
      const std::string environment = content(entry.path().string() + "/environ");
      if (environment.find("MLX_RANK=" + std::to_string(rank) + std::string(1, '\0')) != std::string::npos) return std::stoi(name);
    }
    return 0;
  }

  // Waits until a run is under way, sends the signal to one process, and returns the outcome.
  Outcome run_and_signal(const std::vector<std::string>& arguments, int rank, int signal) {
    auto outcome = std::async(std::launch::async, [&] { return run(arguments); });
    for (int i = 0; i < 600 && !fs::exists(scratch_ / "run/latest.safetensors"); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    const pid_t pid = process_of_rank(rank);
    EXPECT_GT(pid, 0);
    if (pid > 0) ::kill(pid, signal);
    return outcome.get();
  }

  Scratch scratch_;
  bool skip_ = false;
};

// With dropout too: its masks depend only on the position in the global batch.
TEST_F(Launch, TwoProcessesHaveTheLossesOfOne) {
  const std::vector<std::string> overrides = {"max_duration=50ba", "model.model_config.hidden_dropout_prob=0.1",
                                              "device_train_microbatch_size=4", "eval_loader=${train_loader}", "eval_subset_num_batches=2"};
  auto one = overrides, two = overrides;
  one.push_back("save_folder=" + at("one"));
  two.insert(two.end(), {"save_folder=" + at("two"), "--launch", "2"});
  ASSERT_EQ(run(command(one)).code, 0);
  const auto outcome = run(command(two));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.err.find("[ring]"), std::string::npos);
  std::vector<io::Tree> a = json_lines(content(at("one/metrics.jsonl"))), b = json_lines(content(at("two/metrics.jsonl")));
  ASSERT_EQ(a.size(), b.size());
  size_t compared = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    for (const char* name : {"loss/train/total", "metrics/eval/LanguageCrossEntropy"}) {
      if (!a[i].contains(name)) continue;
      const double want = a[i].at(name).number();
      EXPECT_NEAR(b[i].at(name).number(), want, 1e-4 * want) << "line " << i;
      ++compared;
    }
  }
  EXPECT_EQ(compared, 52U);  // 50 steps, and evaluations after the first epoch and at the end
}

// A checkpoint does not depend on how many processes there were.
TEST_F(Launch, GoesOnWithAnotherNumberOfProcesses) {
  const std::string schedule = "scheduler={name: constant_with_warmup, t_warmup: 6ba}";
  ASSERT_EQ(run(command({schedule, "max_duration=30ba", "save_folder=" + at("one")})).code, 0);
  ASSERT_EQ(run(command({schedule, "max_duration=15ba"})).code, 0);
  const auto outcome = run(command({schedule, "max_duration=30ba", "autoresume=true", "--launch", "2"}));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto one = losses("one"), both = losses("run");
  ASSERT_EQ(one.size(), both.size());
  for (size_t i = 0; i < one.size(); ++i) EXPECT_NEAR(both[i], one[i], 1e-4 * one[i]);
}

TEST_F(Launch, ADeadProcessEndsTheRunWithOneError) {
  for (const int rank : {1, 0}) {
    fs::remove_all(scratch_ / "run");
    const auto outcome = run_and_signal(command({"max_duration=1000000ba", "--launch", "2"}), rank, SIGKILL);
    EXPECT_EQ(outcome.code, 1);
    EXPECT_PRED2(has, outcome.err, "error: process " + std::to_string(rank) + " of the run was ended by signal 9");
    EXPECT_EQ(outcome.err.find("error:"), outcome.err.rfind("error:")) << outcome.err;
    EXPECT_EQ(outcome.err.find("[ring]"), std::string::npos) << outcome.err;
    EXPECT_EQ(process_of_rank(0) + process_of_rank(1), 0);
    const auto resumed = run(command({"autoresume=true", "max_duration=1ba"}));
    EXPECT_EQ(resumed.code, 0) << resumed.err;
    EXPECT_PRED2(has, resumed.err, "resuming from");
  }
}

TEST_F(Launch, ASignalToOneStopsAndSavesAll) {
  const auto outcome = run_and_signal(command({"max_duration=1000000ba", "--launch", "2"}), 1, SIGTERM);
  EXPECT_EQ(outcome.code, 143) << outcome.err;
  EXPECT_PRED2(has, outcome.err, "stopped after ");
  EXPECT_EQ(process_of_rank(0) + process_of_rank(1), 0);
}

TEST_F(Launch, CtrlCReachesAllThroughTheLauncher) {
  HowToRun how;
  how.signal = SIGINT;
  how.signal_after = 3;
  const auto outcome = run(command({"max_duration=1000000ba", "--launch", "2"}), how);
  EXPECT_EQ(outcome.code, 130) << outcome.err;
  EXPECT_PRED2(has, outcome.err, "stopped after ");
  EXPECT_TRUE(fs::exists(scratch_ / "run/latest.safetensors"));
}

// A peer that does not answer, as after a lost network: the run ends and saves.
TEST_F(Launch, AHangingProcessEndsTheRunAfterTheTimeout) {
  for (const int rank : {1, 0}) {
    fs::remove_all(scratch_ / "run");
    const auto outcome =
        run_and_signal(command({"max_duration=1000000ba", "save_interval=40ba", "dist_timeout=3", "--launch", "2"}), rank, SIGSTOP);
    EXPECT_EQ(outcome.code, 1) << outcome.err;
    EXPECT_EQ(outcome.err.find("error:"), outcome.err.rfind("error:")) << outcome.err;
    EXPECT_PRED2(has, outcome.err, "waited 3 s for another process");
    EXPECT_EQ(process_of_rank(0) + process_of_rank(1), 0);
    EXPECT_EQ(run(command({"autoresume=true", "max_duration=1ba"})).code, 0);
  }
}

TEST_F(Launch, HangingUpTheTerminalSavesAll) {
  HowToRun how;
  how.signal = SIGHUP;
  how.signal_when = [&] { return fs::exists(scratch_ / "run/latest.safetensors"); };
  how.environment = {{"TMPDIR", at("")}};
  const auto outcome = run(command({"max_duration=1000000ba", "--launch", "2"}), how);
  EXPECT_EQ(outcome.code, 129) << outcome.err;
  EXPECT_PRED2(has, outcome.err, "stopped after ");
  EXPECT_EQ(process_of_rank(0) + process_of_rank(1), 0);
  for (const auto& entry : fs::directory_iterator(scratch_.folder())) EXPECT_FALSE(has(entry.path().string(), "m2bert-launch")) << entry;
}

TEST_F(Launch, UnderNohupItGoesOnWithoutTheTerminal) {
  HowToRun how;
  how.signal = how.ignored.emplace(SIGHUP);
  how.signal_when = [&] { return fs::exists(scratch_ / "run/latest.safetensors"); };
  const auto outcome = run(command({"max_duration=40ba", "save_interval=10ba", "--launch", "2"}), how);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_PRED2(has, outcome.out, "trained");
}

TEST_F(Launch, ASignalAtTheStartEndsAtOnce) {
  for (const double moment : {0.02, 0.1, 0.3, 0.6}) {
    HowToRun how;
    how.signal = SIGINT;
    how.signal_after = moment;
    const auto start = std::chrono::steady_clock::now();
    const auto outcome = run(command({"max_duration=1000000ba", "save_overwrite=true", "--launch", "2"}), how);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(12)) << moment;
    EXPECT_EQ(outcome.code, 130) << moment << ": " << outcome.err;
    EXPECT_EQ(outcome.err.find("ring"), std::string::npos) << outcome.err;
    EXPECT_EQ(process_of_rank(0) + process_of_rank(1), 0);
  }
}

TEST_F(Launch, AMissingTemporaryFolderIsOneClearError) {
  const auto outcome = run(command({"--launch", "2"}), {.environment = {{"TMPDIR", "/nowhere/at-all"}}});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_PRED2(has, outcome.err, "error: --launch: the temporary folder /nowhere/at-all cannot be used");
}

TEST_F(Launch, AWrongRecipeIsSaidOnce) {
  for (const char* wrong : {"optimizer.name=sgd", "train_loader.file=/nowhere"}) {
    const auto outcome = run(command({wrong, "--launch", "2"}));
    EXPECT_EQ(outcome.code, 1);
    EXPECT_EQ(outcome.err.find("error:"), outcome.err.rfind("error:")) << outcome.err;
  }
  EXPECT_PRED2(has, run(command({"--launch", "3"})).err, "global_train_batch_size: 8 rows cannot be shared evenly by 3 processes");
}

// As on several machines: the same command everywhere, with the hostfile.
TEST_F(Launch, Hostfile) {
  scratch_.put("hosts.json", "[[\"127.0.0.1:47311\"], [\"127.0.0.1:47312\"]]");
  auto of_rank = [&](const char* rank) { return run(command({"max_duration=5ba", "--hostfile", at("hosts.json"), "--rank", rank})); };
  auto second = std::async(std::launch::async, [&] { return of_rank("1"); });
  const auto first = of_rank("0"), other = second.get();
  EXPECT_EQ(first.code, 0) << first.err;
  EXPECT_EQ(other.code, 0) << other.err;
  EXPECT_PRED2(has, first.out, "trained 5 batches");
  EXPECT_EQ(other.out + other.err, "");
  EXPECT_PRED2(has, of_rank("2").err, "so ranks from 0 to 1; this one is to be 2");
}

// Without a launcher, the closed connection says that the other is dead. The whole of what was trained is saved.
TEST_F(Launch, ADeadProcessOfAHostfileEndsTheOther) {
  scratch_.put("hosts.json", "[[\"127.0.0.1:47313\"], [\"127.0.0.1:47314\"]]");
  const std::vector<std::string> words = {
      "max_duration=1000000ba", "save_interval=40ba", "dist_timeout=5", "--hostfile", at("hosts.json"), "--rank"};
  auto with_rank = [&](const char* rank) {
    auto all = words;
    all.emplace_back(rank);
    return command(all);
  };
  HowToRun killed;
  killed.signal_when = [&] { return fs::exists(scratch_ / "run/latest.safetensors"); };
  auto second = std::async(std::launch::async, [&] { return run(with_rank("1"), killed); });
  const auto first = run(with_rank("0"));
  EXPECT_EQ(second.get().code, 137);
  EXPECT_EQ(first.code, 1) << first.err;
  EXPECT_PRED2(has, first.err, "error: ");
  EXPECT_PRED2(has, first.err, "another process of this run");
  const auto resumed = run(command({"autoresume=true", "max_duration=1ba"}));
  EXPECT_EQ(resumed.code, 0) << resumed.err;
  const auto batches = json_lines(content(at("run/metrics.jsonl"))).size();
  EXPECT_PRED2(has, resumed.out, "nothing was left to do: the run had trained " + std::to_string(batches) + " batches");
}

TEST_F(Launch, UnderMpirun) {
  if (std::system("mpirun --version > /dev/null 2>&1") != 0) GTEST_SKIP() << "mpirun is not installed";
  ASSERT_EQ(run(command({"max_duration=5ba", "save_folder=" + at("one")})).code, 0);
  const std::string words = "mpirun --allow-run-as-root --oversubscribe -n 2 " M2BERT_PROGRAM " pretrain " + at("r.yaml") +
                            " --threads 1 max_duration=5ba > " + at("out") + " 2>&1";
  ASSERT_EQ(std::system(words.c_str()), 0) << content(at("out"));
  const auto out = content(at("out"));
  EXPECT_EQ(out.find("trained 5 batches"), out.rfind("trained 5 batches")) << out;  // separate processes would each print it
  const auto one = losses("one"), both = losses("run");
  ASSERT_EQ(both.size(), 5U);
  for (size_t i = 0; i < 5; ++i) EXPECT_NEAR(both[i], one[i], 1e-4 * one[i]);
}

}  // namespace
}  // namespace m2bert::test
