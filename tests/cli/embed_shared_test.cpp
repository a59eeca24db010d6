// m2bert embed by several processes: the file of one process, also after kills.
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <filesystem>
#include <random>
#include <thread>

#include "m2bert/io/json.h"
#include "tests/cli/program.h"
#include "tests/support/scratch.h"
#include "tests/support/tiny_models.h"

namespace m2bert::test {
namespace {

namespace fs = std::filesystem;

using Words = std::vector<std::string>;

class EmbedShared : public ::testing::Test {
 protected:
  EmbedShared() { write_texts(1200); }

  void write_texts(size_t count) const {
    std::string lines;
    for (size_t i = 0; i < count; ++i) lines += sentence(i, 1 + i * 7 % 40) + "\n";
    scratch_.put("in.txt", lines);
  }

  std::string at(const std::string& name) const { return (scratch_ / name).string(); }
  bool there(const std::string& name) const { return fs::exists(scratch_ / name); }
  std::string bytes(const std::string& name) const { return content(at(name)); }

  Words command(const std::string& out, const Words& more = {}, const std::string& model = tiny_models().m2) const {
    Words words = {"embed", "--model", model, at("in.txt"), "-o", at(out), "--save-every", "0", "--batch-size", "16", "--threads", "1"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  // Files beside the output that a finished run does not leave.
  size_t leftovers(const std::string& out) const {
    size_t count = 0;
    for (const auto& entry : fs::directory_iterator(scratch_.folder()))
      count += entry.path().filename().string().starts_with(out + ".") ? 1 : 0;
    return count;
  }

  // The process of that rank, or of the shard, of this test.
  pid_t process_with(const std::string& variable) const {
    for (const auto& entry : fs::directory_iterator("/proc")) {
      const std::string name = entry.path().filename().string();
      if (name.find_first_not_of("0123456789") != std::string::npos) continue;
      if (content(entry.path().string() + "/cmdline").find(scratch_.folder().string()) == std::string::npos) continue;
      if (content(entry.path().string() + "/environ").find(variable + std::string(1, '\0')) != std::string::npos) return std::stoi(name);
    }
    return 0;
  }

  // Whether every shard of a run has texts.
  bool all_begun(const std::string& out, size_t count) const {
    for (size_t i = 0; i < count; ++i) {
      const std::string state = out + ".shard-" + std::to_string(i) + "-of-" + std::to_string(count) + ".part.state";
      if (!there(state) || io::read_json(at(state)).at("texts").integer() == 0) return false;
    }
    return true;
  }

  // Runs two processes, and sends a signal to one of them once both have computed something.
  Outcome signal_to(const std::string& out, int rank, int signal, const Words& more) const {
    bool sent = false;
    HowToRun how;
    how.signal = 0;
    how.signal_when = [&] {
      if (sent || !all_begun(out, 2)) return false;
      const pid_t pid = process_with("MLX_RANK=" + std::to_string(rank));
      if (pid > 0) ::kill(pid, signal);
      return sent = pid > 0;
    };
    Words words = more;
    words.insert(words.end(), {"--launch", "2"});
    return run(command(out, words), how);
  }

  Outcome mpirun(int count, const Words& words) const {
    std::string line = "mpirun --allow-run-as-root --oversubscribe -n " + std::to_string(count) + " " M2BERT_PROGRAM;
    for (const std::string& word : words) line += " '" + word + "'";
    Outcome outcome;
    outcome.code = WEXITSTATUS(std::system((line + " > " + at("out") + " 2> " + at("err")).c_str()));
    outcome.out = bytes("out");
    outcome.err = bytes("err");
    return outcome;
  }

  Scratch scratch_;
};

size_t count_of(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

struct Kind {
  std::string ending;
  Words options;
  bool attention = false;
};

// M2's windows are one batch; those of attention models end where their tokens are enough.
TEST_F(EmbedShared, SeveralProcessesWriteTheFileOfOne) {
  const std::vector<Kind> kinds = {
      {".npy", {}},
      {".jsonl", {}, true},
      {".safetensors", {"--pad", "bucket"}},
      {".safetensors", {"--late-chunking", "--chunk-tokens", "9", "--pooling", "mean"}, true},
      {".safetensors", {"--tokens", "--precision", "binary"}},
  };
  for (const Kind& kind : kinds) {
    const std::string& model = kind.attention ? tiny_models().attention : tiny_models().m2;
    const std::string whole = "whole" + kind.ending, shared = "shared" + kind.ending;
    Words options = kind.options;
    options.push_back("--overwrite");
    ASSERT_EQ(run(command(whole, options, model)).code, 0);
    for (const char* count : {"2", "3"}) {
      Words launched = options;
      launched.insert(launched.end(), {"--launch", count});
      const Outcome outcome = run(command(shared, launched, model));
      ASSERT_EQ(outcome.code, 0) << outcome.err;
      EXPECT_TRUE(bytes(shared) == bytes(whole)) << kind.ending << " " << count;
      EXPECT_EQ(leftovers(shared), 0U);
    }
  }
}

TEST_F(EmbedShared, FewerTextsThanProcessesAndNone) {
  for (const size_t texts : {20U, 1U, 0U}) {
    write_texts(texts);
    ASSERT_EQ(run(command("whole.npy", {"--overwrite"})).code, 0);
    const Outcome outcome = run(command("shared.npy", {"--overwrite", "--launch", "3"}));
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(bytes("shared.npy"), bytes("whole.npy")) << texts;
    EXPECT_EQ(leftovers("shared.npy"), 0U);
  }
}

TEST_F(EmbedShared, TheSummaryCountsAllTexts) {
  const Outcome one = run(command("whole.jsonl", {"--json", "--max-length", "20"}));
  const Outcome two = run(command("shared.jsonl", {"--json", "--max-length", "20", "--launch", "2"}));
  ASSERT_EQ(two.code, 0) << two.err;
  ASSERT_EQ(json_lines(two.out).size(), 1U) << two.out;
  for (const char* key : {"texts", "tokens", "truncated", "skipped", "dim", "format"})
    EXPECT_TRUE(json_lines(two.out)[0].at(key) == json_lines(one.out)[0].at(key)) << key;
}

TEST_F(EmbedShared, TextsWithDashesReachTheProcesses) {
  const Words texts = {"embed", "--model", tiny_models().m2, "--text=--green", "--text=a tree", "--prompt", "", "--threads", "1", "-o"};
  Words one = texts, two = texts;
  one.push_back(at("whole.jsonl"));
  two.insert(two.end(), {at("shared.jsonl"), "--launch", "2"});
  ASSERT_EQ(run(one).code, 0);
  const Outcome outcome = run(two);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(bytes("shared.jsonl"), bytes("whole.jsonl"));
}

TEST_F(EmbedShared, KilledAtRandomMomentsTheFileIsByteIdentical) {
  std::mt19937 random(7);
  ASSERT_EQ(run(command("whole.npy")).code, 0);
  int kills = 0;
  for (Outcome outcome{137}; outcome.code != 0; ++kills) {
    HowToRun how;
    if (kills < 6) how.signal_after = std::uniform_real_distribution(0.2, 2.0)(random);
    outcome = run(command("shared.npy", {"--resume", "--launch", "2"}), how);
    ASSERT_TRUE(outcome.code == 0 || outcome.code == 137) << outcome.err;
    for (int i = 0; i < 200 && process_with("M2BERT_LOCAL_PROCESSES=2") > 0; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    ASSERT_TRUE(outcome.code == 0 || !there("shared.npy") || bytes("shared.npy") == bytes("whole.npy"));
  }
  EXPECT_EQ(bytes("shared.npy"), bytes("whole.npy")) << "after " << kills << " runs";
  EXPECT_EQ(leftovers("shared.npy"), 0U);
}

#ifdef __linux__
TEST_F(EmbedShared, AKilledProcessStopsAllAndTheRunResumes) {
  write_texts(4000);
  ASSERT_EQ(run(command("whole.npy")).code, 0);
  for (const int rank : {0, 1}) {
    const Outcome outcome = signal_to("shared.npy", rank, SIGKILL, {"--resume", "--overwrite"});
    EXPECT_EQ(outcome.code, 1);
    EXPECT_PRED2(has, outcome.err,
                 "error: process " + std::to_string(rank) +
                     " of the run was ended by signal 9; the run stopped. The same command with "
                     "--resume continues it");
    EXPECT_EQ(count_of(outcome.err, "error:"), 1U) << outcome.err;
    EXPECT_FALSE(there("shared.npy"));
    EXPECT_EQ(process_with("M2BERT_LOCAL_PROCESSES=2"), 0);
  }
  const Outcome again = run(command("shared.npy", {"--launch", "2"}));
  EXPECT_EQ(again.code, 1);
  EXPECT_PRED2(has, again.err, "--resume continues it, --overwrite starts over");
  const Outcome other = run(command("shared.npy", {"--launch", "3", "--resume"}));
  EXPECT_PRED2(has, other.err, "an unfinished run of " + at("shared.npy") + " with 2 processes is there");
  const Outcome changed = run(command("shared.npy", {"--launch", "2", "--resume", "--pooling", "mean"}));
  EXPECT_EQ(changed.code, 1);
  EXPECT_PRED2(has, changed.err, "pooling was \"pooler\", is \"mean\"");
  EXPECT_EQ(count_of(changed.err, "error:"), 1U) << changed.err;
  const Outcome resumed = run(command("shared.npy", {"--launch", "2", "--resume"}));
  EXPECT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_PRED2(has, resumed.err, "resuming shard 0 of 2 after ");
  EXPECT_TRUE(bytes("shared.npy") == bytes("whole.npy"));
  EXPECT_EQ(leftovers("shared.npy"), 0U);
}

TEST_F(EmbedShared, CtrlCKeepsTheShards) {
  write_texts(4000);
  HowToRun how;
  how.signal = SIGINT;
  how.signal_when = [&] { return all_begun("shared.npy", 2); };
  const Outcome outcome = run(command("shared.npy", {"--launch", "2"}), how);
  EXPECT_EQ(outcome.code, 130) << outcome.err;
  EXPECT_EQ(count_of(outcome.err, "the same command with --resume continues there"), 1U) << outcome.err;
  EXPECT_FALSE(there("shared.npy"));
  ASSERT_EQ(run(command("shared.npy", {"--launch", "2", "--resume"})).code, 0);
  ASSERT_EQ(run(command("whole.npy")).code, 0);
  EXPECT_TRUE(bytes("shared.npy") == bytes("whole.npy"));
}
#endif

TEST_F(EmbedShared, AnErrorIsSaidOnce) {
  struct Case {
    Words options;
    int code;
    const char* message;
  };
  Words broken = command("a.npy", {"--launch", "2"}, tiny_models().broken);
  HowToRun small;
  small.largest_file = 20000;
  const std::vector<std::pair<Outcome, const char*>> errors = {
      {run(command("a.npy", {"--launch", "2"}, at("nothing"))), "nothing"},
      {run(broken), "NaN or infinite"},
      {run(command("a.npy", {"--launch", "2"}), small), "cannot write"},
      {run(command("a.npy", {"--launch", "2", "--overwrite", "--max-length", "100000"})), "takes at most"},
  };
  for (const auto& [outcome, message] : errors) {
    EXPECT_EQ(outcome.code, 1) << outcome.err;
    EXPECT_PRED2(has, outcome.err, message);
    EXPECT_EQ(count_of(outcome.err, "error:"), 1U) << outcome.err;
    EXPECT_FALSE(there("a.npy"));
  }
}

TEST_F(EmbedShared, WhatSeveralProcessesCannotShareIsRefused) {
  const std::string model = tiny_models().m2, in = at("in.txt"), out = at("a.npy");
  HowToRun how;
  how.input = "green\n";
  const std::vector<std::pair<Words, const char*>> cases = {
      {{in, "--launch", "2"}, "name a file with --output"},
      {{"-", "-o", out, "--launch", "2"}, "a pipe can be read only once: give a file"},
      {{"-", "-o", out, "--shard", "0/2"}, "a pipe can be read only once: give a file"},
      {{in, "-o", out, "--shard", "0/2", "--launch", "2"}, "--shard is for processes on their own"},
      {{in, "-o", out, "--join", "2", "--launch", "2"}, "--join is for one process"},
      {{in, "-o", out, "--join", "2", "--shard", "1/2"}, "give one of them"},
      {{in, "-o", out, "--shard", "2/2"}, "--shard 2/2: wants I/N, such as 0/8"},
      {{in, "-o", out, "--shard", "x"}, "wants I/N"},
  };
  for (const auto& [options, message] : cases) {
    Words words = {"embed", "--model", model};
    words.insert(words.end(), options.begin(), options.end());
    const Outcome outcome = run(words, how);
    EXPECT_EQ(outcome.code, 2) << message;
    EXPECT_PRED2(has, outcome.err, message);
    EXPECT_FALSE(there("a.npy"));
  }
}

TEST_F(EmbedShared, ShardsOfABatchSystemAreJoined) {
  ASSERT_EQ(run(command("whole.jsonl")).code, 0);
  for (const char* shard : {"2/3", "0/3"}) ASSERT_EQ(run(command("a.jsonl", {"--shard", shard})).code, 0);
  const Outcome early = run(command("a.jsonl", {"--join", "3"}));
  EXPECT_EQ(early.code, 1);
  EXPECT_PRED2(has, early.err, "a.jsonl.shard-1-of-3: this shard is missing or not finished; compute it with --shard 1/3");
  EXPECT_FALSE(there("a.jsonl"));
  HowToRun killed;
  killed.signal_when = [&] {
    const std::string state = "a.jsonl.shard-1-of-3.part.state";
    return there(state) && io::read_json(at(state)).at("texts").integer() > 0;
  };
  run(command("a.jsonl", {"--shard", "1/3"}), killed);
  ASSERT_EQ(run(command("a.jsonl", {"--shard", "1/3", "--resume"})).code, 0);
  const Outcome complete = run(command("a.jsonl", {"--shard", "1/3", "--resume"}));
  EXPECT_EQ(complete.code, 0);
  EXPECT_PRED2(has, complete.err, "shard 1 of 3 is complete already");
  EXPECT_PRED2(has, run(command("a.jsonl", {"--join", "3", "--pooling", "mean"})).err, "made with other settings: pooling was");
  EXPECT_PRED2(has, run(command("a.jsonl", {"--join", "2"})).err, "with 3 processes is there");
  const std::string shard = bytes("a.jsonl.shard-1-of-3");
  scratch_.put("a.jsonl.shard-1-of-3", shard.substr(0, shard.size() - 1));
  EXPECT_PRED2(has, run(command("a.jsonl", {"--join", "3"})).err, "this shard is damaged");
  scratch_.put("a.jsonl.shard-1-of-3", shard);
  const Outcome joined = run(command("a.jsonl", {"--join", "3"}));
  EXPECT_EQ(joined.code, 0) << joined.err;
  EXPECT_EQ(bytes("a.jsonl"), bytes("whole.jsonl"));
  EXPECT_EQ(leftovers("a.jsonl"), 0U);
  EXPECT_PRED2(has, run(command("a.jsonl", {"--shard", "1/3"})).err, "is there already; --overwrite replaces it");
}

TEST_F(EmbedShared, AChangedInputIsRefused) {
  ASSERT_EQ(run(command("a.npy", {"--shard", "0/2"})).code, 0);
  scratch_.put("in.txt", bytes("in.txt") + "one more\n");
  const Outcome resumed = run(command("a.npy", {"--shard", "0/2", "--resume"}));
  EXPECT_EQ(resumed.code, 1);
  EXPECT_PRED2(has, resumed.err, "something changed since: input was");
  ASSERT_EQ(run(command("a.npy", {"--shard", "1/2"})).code, 0);
  EXPECT_PRED2(has, run(command("a.npy", {"--join", "2"})).err, "this shard was made with other settings: input was");
  EXPECT_FALSE(there("a.npy"));
  ASSERT_EQ(run(command("a.npy", {"--launch", "2", "--resume", "--overwrite"})).code, 0);  // computes the first shard again
  ASSERT_EQ(run(command("whole.npy")).code, 0);
  EXPECT_EQ(bytes("a.npy"), bytes("whole.npy"));
}

TEST_F(EmbedShared, UnderMpirun) {
  if (std::system("mpirun --version > /dev/null 2>&1") != 0) GTEST_SKIP() << "mpirun is not installed";
  ASSERT_EQ(run(command("whole.npy")).code, 0);
  for (const int count : {1, 2, 3}) {
    const Outcome outcome = mpirun(count, command("shared.npy", {"--overwrite", "--json"}));
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(json_lines(outcome.out).size(), 1U) << outcome.out;
    EXPECT_EQ(bytes("shared.npy"), bytes("whole.npy")) << count;
    EXPECT_EQ(leftovers("shared.npy"), 0U);
  }
  const Outcome wrong = mpirun(2, command("b.npy", {}, at("nothing")));
  EXPECT_EQ(wrong.code, 1);
  EXPECT_EQ(count_of(wrong.err, "error:"), 1U) << wrong.err;
}

// One process is killed; mpirun ends the other, and both shards resume.
TEST_F(EmbedShared, UnderMpirunAKilledRunResumes) {
  if (std::system("mpirun --version > /dev/null 2>&1") != 0) GTEST_SKIP() << "mpirun is not installed";
  write_texts(4000);
  ASSERT_EQ(run(command("whole.npy")).code, 0);
  std::thread killer([&] {
    for (int i = 0; i < 1200 && !all_begun("shared.npy", 2); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    if (const pid_t pid = process_with("OMPI_COMM_WORLD_RANK=1"); pid > 0) ::kill(pid, SIGKILL);
  });
  const Outcome killed = mpirun(2, command("shared.npy"));
  killer.join();
  EXPECT_NE(killed.code, 0);
  EXPECT_FALSE(there("shared.npy"));
  const Outcome resumed = mpirun(2, command("shared.npy", {"--resume"}));
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  // The shard of the process that lived may have been complete by then.
  EXPECT_TRUE(has(resumed.err, "resuming shard 0 of 2 after ") || has(resumed.err, "shard 0 of 2 is complete already")) << resumed.err;
  EXPECT_TRUE(bytes("shared.npy") == bytes("whole.npy"));
}

}  // namespace
}  // namespace m2bert::test
