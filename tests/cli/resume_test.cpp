// embed, classify and fill-mask, stopped at any moment and resumed, write the same file as an uninterrupted run.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "m2bert/io/json.h"
#include "tests/cli/program.h"
#include "tests/support/scratch.h"
#include "tests/support/tiny_models.h"

namespace m2bert::test {
namespace {

namespace fs = std::filesystem;

// A run long enough to be interrupted in the middle.
class Resume : public ::testing::Test {
 protected:
  Resume() {
    std::string lines;
    for (size_t i = 0; i < 2400; ++i) lines += sentence(i, 1 + i % 40) + "\n";
    scratch_.put("in.txt", lines);
  }

  std::vector<std::string> command(const std::string& out, std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = {command_,       "--model",
                                          model_,         (scratch_ / "in.txt").string(),
                                          "-o",           (scratch_ / out).string(),
                                          "--save-every", "0",
                                          "--batch-size", batch_size_,
                                          "--threads",    "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  bool there(const std::string& name) const { return fs::exists(scratch_ / name); }
  std::string bytes(const std::string& name) const { return content((scratch_ / name).string()); }

  // Leaves an unfinished run of some texts.
  void stop_in_the_middle(const std::string& out, int signal = SIGKILL) { stop_in_the_middle(out, {"--overwrite"}, signal); }
  void stop_in_the_middle(const std::string& out, const std::vector<std::string>& options, int signal = SIGKILL) {
    HowToRun how;
    how.signal = signal;
    how.signal_when = [&] { return has_begun(out); };
    code_ = run(command(out, options), how).code;
    ASSERT_TRUE(has_begun(out));
  }

  bool has_begun(const std::string& out) const { return there(out + ".part.state") && texts_done(out) > 0; }

  int64_t texts_done(const std::string& out) const { return io::read_json(scratch_ / (out + ".part.state")).at("texts").integer(); }

  Scratch scratch_;
  std::string command_ = "embed", model_ = tiny_models().m2, batch_size_ = "16";
  int code_ = 0;
};

TEST_F(Resume, KilledAtRandomMomentsTheFileIsByteIdentical) {
  std::mt19937 random(7);
  for (const char* ending : {".npy", ".jsonl", ".safetensors"}) {
    const std::string whole = std::string("whole") + ending, parts = std::string("parts") + ending;
    const auto start = std::chrono::steady_clock::now();
    ASSERT_EQ(run(command(whole)).code, 0);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    int kills = 0;
    for (Outcome outcome{137}; outcome.code != 0; ++kills) {
      HowToRun how;
      if (kills < 12) how.signal_after = std::uniform_real_distribution(0.02, 0.6 * seconds)(random);
      outcome = run(command(parts, {"--resume"}), how);
      ASSERT_TRUE(outcome.code == 0 || outcome.code == 137) << outcome.err;
      ASSERT_TRUE(outcome.code == 0 || !there(parts) || bytes(parts) == bytes(whole)) << "the final name holds a partial file";
    }
    EXPECT_EQ(bytes(parts), bytes(whole)) << "after " << kills << " runs";
    EXPECT_FALSE(there(parts + ".part") || there(parts + ".part.state"));
  }
}

// The index of passages waits in a file of its own.
TEST_F(Resume, KilledRunsOfOtherVectorsAreByteIdentical) {
  std::mt19937 random(8);
  const std::vector<std::pair<std::string, std::vector<std::string>>> kinds = {
      {".safetensors", {"--late-chunking", "--chunk-tokens", "9", "--chunk-overlap", "2", "--pooling", "mean"}},
      {".safetensors", {"--tokens", "--precision", "binary"}},
      {".npy", {"--precision", "ubinary", "--dimensions", "12"}}};
  for (const auto& [ending, options] : kinds) {
    const std::string whole = "whole" + ending, parts = "parts" + ending;
    std::vector<std::string> first = options, again = options;
    first.push_back("--overwrite");
    const auto start = std::chrono::steady_clock::now();
    ASSERT_EQ(run(command(whole, first)).code, 0);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    stop_in_the_middle(parts, first);
    again.push_back("--resume");
    Outcome outcome{137};
    for (int kills = 0; outcome.code != 0; ++kills) {
      HowToRun how;
      if (kills < 4) how.signal_after = std::uniform_real_distribution(0.02, 0.6 * seconds)(random);
      outcome = run(command(parts, again), how);
      ASSERT_TRUE(outcome.code == 0 || outcome.code == 137) << outcome.err;
    }
    EXPECT_TRUE(bytes(parts) == bytes(whole));
    EXPECT_FALSE(there(parts + ".part") || there(parts + ".part.state") || there(parts + ".part.index"));
    fs::remove(scratch_ / parts);
  }
}

// SIGKILL while the state is written leaves a temporary file.
TEST_F(Resume, TemporariesOfKilledRunsAreRemoved) {
  stop_in_the_middle("out.npy");
  scratch_.put("out.npy.part.state.part-00c0ffee", "{");
  for (const char* other : {"out.npy.part.state.part-other", "out.npy.part.state.part-00c0ffee0", "in.txt.part-00c0ffee"})
    scratch_.put(other, "");
  EXPECT_EQ(run(command("out.npy", {"--resume"})).code, 0);
  EXPECT_FALSE(there("out.npy.part.state.part-00c0ffee"));
  for (const char* other : {"out.npy.part.state.part-other", "out.npy.part.state.part-00c0ffee0", "in.txt.part-00c0ffee"}) {
    EXPECT_TRUE(there(other)) << other;
  }
}

TEST_F(Resume, CtrlCKeepsThePartAndSaysHowToGoOn) {
  const std::string out = "a.npy";
  stop_in_the_middle(out, SIGINT);
  EXPECT_EQ(code_, 130);
  EXPECT_TRUE(there(out + ".part"));
  EXPECT_FALSE(there(out));
  ASSERT_EQ(run(command("whole.npy")).code, 0);
  const Outcome outcome = run(command(out, {"--resume"}));
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_TRUE(has(outcome.err, "resuming after"));
  EXPECT_EQ(bytes(out), bytes("whole.npy"));
}

// Windows of several batches, in every format.
TEST_F(Resume, CtrlCInTheMiddleOfAWindow) {
  batch_size_ = "4";
  const std::vector<std::pair<std::string, std::string>> runs = {
      {"embed", ".jsonl"}, {"embed", ".npy"}, {"embed", ".safetensors"}, {"classify", ".jsonl"}};
  for (const auto& [name, ending] : runs) {
    SCOPED_TRACE(name + " " + ending);
    command_ = name;
    model_ = name == "classify" ? tiny_models().classifier : tiny_models().attention;
    const std::string whole = name + "_whole" + ending, out = name + ending;
    stop_in_the_middle(out, {"--overwrite", "--pad", "bucket"}, SIGINT);
    EXPECT_EQ(code_, 130);
    ASSERT_EQ(run(command(whole, {"--pad", "bucket"})).code, 0);
    const Outcome outcome = run(command(out, {"--resume", "--pad", "bucket"}));
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_TRUE(bytes(out) == bytes(whole));
  }
}

TEST_F(Resume, CtrlCWhileWaitingForInput) {
  const std::string fifo = (scratch_ / "fifo").string();
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  const int both_ends = ::open(fifo.c_str(), O_RDWR);
  HowToRun how;
  how.input_file = fifo;
  how.signal = SIGINT;
  how.signal_after = 2;
  const Outcome outcome = run({"embed", "--model", tiny_models().m2, "-o", (scratch_ / "a.npy").string()}, how);
  ::close(both_ends);
  EXPECT_EQ(outcome.code, 130) << outcome.err;
  EXPECT_FALSE(there("a.npy"));
}

TEST_F(Resume, StdinCanBeContinuedWhenItsStartIsTheSame) {
  HowToRun how;
  how.input = bytes("in.txt");
  const std::vector<std::string> base = {"embed", "--model", tiny_models().m2, "--save-every", "0", "--threads", "1", "--resume", "-o"};
  const auto with = [&](const std::string& out) {
    std::vector<std::string> arguments = base;
    arguments.push_back((scratch_ / out).string());
    return arguments;
  };
  ASSERT_EQ(run(with("whole.npy"), how).code, 0);
  HowToRun stopped = how;
  stopped.signal_when = [&] { return has_begun("a.npy"); };
  run(with("a.npy"), stopped);
  ASSERT_TRUE(has_begun("a.npy"));
  HowToRun other = how;
  other.input.insert(0, "x");
  const Outcome refused = run(with("a.npy"), other);
  EXPECT_EQ(refused.code, 1);
  EXPECT_TRUE(has(refused.err, "are not those of the earlier run"));
  EXPECT_EQ(run(with("a.npy"), how).code, 0);
  EXPECT_EQ(bytes("a.npy"), bytes("whole.npy"));
}

TEST_F(Resume, ChangedInputModelOrOptionIsRefusedByName) {
  const std::string out = "a.npy";
  stop_in_the_middle(out);
  struct Case {
    std::vector<std::string> change;
    const char* name;
  };
  const std::vector<Case> cases = {
      {{"--pad", "bucket"}, "pad was \"max\", is \"bucket\""},
      {{"--max-length", "31"}, "max_length was 32, is 31"},
      {{"--pooling", "mean"}, "pooling"},
      {{"--normalize"}, "normalize"},
      {{"--prompt", "green"}, "prompt"},
      {{"--dtype", "bfloat16"}, "dtype"},
      {{"--truncation-side", "left"}, "truncation_side"},
      {{"--reference-cut"}, "reference_cut"},
      {{"--output-format", "jsonl"}, "output_format"},
  };
  for (const Case& c : cases) {
    std::vector<std::string> change = c.change;
    change.push_back("--resume");
    const Outcome outcome = run(command(out, change));
    EXPECT_EQ(outcome.code, 1) << c.name;
    EXPECT_TRUE(has(outcome.err, c.name));
  }
  std::vector<std::string> other_model = command(out, {"--resume"}), other_batch = other_model;
  other_model[2] = tiny_models().m2_other;
  EXPECT_TRUE(has(run(other_model).err, "model was"));
  other_batch[9] = "8";
  EXPECT_TRUE(has(run(other_batch).err, "batch_size was 16, is 8"));
  const std::string original = bytes("in.txt");
  scratch_.put("in.txt", original + "one more\n");
  EXPECT_TRUE(has(run(command(out, {"--resume"})).err, "input"));
  scratch_.put("in.txt", original);
  EXPECT_EQ(run(command(out, {"--resume"})).code, 0);
}

TEST_F(Resume, ExistingFilesAreNotTouchedUnasked) {
  scratch_.put("a.npy", "precious");
  const Outcome existing = run(command("a.npy"));
  EXPECT_EQ(existing.code, 1);
  EXPECT_TRUE(has(existing.err, "--overwrite"));
  EXPECT_EQ(run(command("a.npy", {"--resume"})).code, 1);
  EXPECT_EQ(bytes("a.npy"), "precious");
  EXPECT_EQ(run(command("a.npy", {"--overwrite"})).code, 0);
  EXPECT_NE(bytes("a.npy"), "precious");
  stop_in_the_middle("b.npy");
  const Outcome unfinished = run(command("b.npy"));
  EXPECT_EQ(unfinished.code, 1);
  EXPECT_TRUE(has(unfinished.err, "--resume continues"));
  EXPECT_EQ(run(command("b.npy", {"--overwrite"})).code, 0);
  EXPECT_EQ(bytes("b.npy"), bytes("a.npy"));
}

TEST_F(Resume, FullDiskIsOneErrorAndCanBeContinued) {
  ASSERT_EQ(run(command("whole.npy")).code, 0);
  HowToRun how;
  how.largest_file = 100000;
  const Outcome outcome = run(command("a.npy"), how);
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(has(outcome.err, "--resume continues"));
  EXPECT_FALSE(there("a.npy"));
  EXPECT_EQ(run(command("a.npy", {"--resume"})).code, 0);
  EXPECT_EQ(bytes("a.npy"), bytes("whole.npy"));
  how.largest_file = 64;
  EXPECT_EQ(run(command("b.npy"), how).code, 1);
  EXPECT_FALSE(there("b.npy") || there("b.npy.part") || there("b.npy.part.state"));
}

TEST_F(Resume, AFinishedFileSaysWhatOtherOptionsChange) {
  scratch_.put("in.txt", "green tree\nriver\n");
  ASSERT_EQ(run(command("a.npy")).code, 0);
  const std::string before = bytes("a.npy");
  const Outcome same = run(command("a.npy", {"--resume"}));
  EXPECT_EQ(same.code, 0) << same.err;
  if (!has(same.err, "complete already")) GTEST_SKIP() << "the file system has no extended attributes";
  const Outcome other = run(command("a.npy", {"--resume", "--pooling", "mean"}));
  EXPECT_EQ(other.code, 1);
  EXPECT_TRUE(has(other.err, "complete, but was written with other settings: pooling was \"pooler\", is \"mean\""));
  EXPECT_EQ(bytes("a.npy"), before);
  EXPECT_EQ(run(command("a.npy", {"--resume", "--overwrite", "--pooling", "mean"})).code, 0);
  EXPECT_NE(bytes("a.npy"), before);
}

TEST_F(Resume, WithOverwriteAnotherRunIsReplaced) {
  stop_in_the_middle("a.npy");
  EXPECT_TRUE(has(run(command("a.npy", {"--resume", "--pooling", "mean"})).err, "something changed since: pooling"));
  scratch_.put("in.txt", "green tree\nriver\n");
  const Outcome outcome = run(command("a.npy", {"--resume", "--overwrite"}));
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_FALSE(has(outcome.err, "resuming"));
  EXPECT_TRUE(has(bytes("a.npy"), "'shape': (2, 16)"));
  EXPECT_FALSE(there("a.npy.part") || there("a.npy.part.state"));
}

// The commands that write lines, through the same file.
class ResumeLines : public Resume {
 protected:
  ResumeLines() {
    std::string lines;
    for (size_t i = 0; i < texts; ++i) lines += sentence(i, 1 + i % 30) + (i % 5 == 0 ? "\n" : " [MASK]\n");
    scratch_.put("in.txt", lines);
  }

  static constexpr size_t texts = 600;

  std::vector<std::string> lines_command(const std::string& name, const std::string& out, std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = command(out, std::move(more));
    arguments[0] = name;
    arguments[2] = name == "classify" ? tiny_models().classifier : tiny_models().masked_lm;
    return arguments;
  }
};

TEST_F(ResumeLines, KilledInTheMiddleTheFileIsByteIdentical) {
  for (const std::string name : {"classify", "fill-mask"}) {
    const std::string whole = name + ".whole.jsonl", parts = name + ".jsonl";
    const Outcome uninterrupted = run(lines_command(name, whole));
    ASSERT_EQ(uninterrupted.code, 0) << uninterrupted.err;
    EXPECT_EQ(json_lines(bytes(whole)).size(), texts);
    HowToRun how;
    how.signal_when = [&] { return has_begun(parts); };
    run(lines_command(name, parts), how);
    ASSERT_TRUE(has_begun(parts));
    EXPECT_FALSE(there(parts));
    const Outcome changed = run(lines_command(name, parts, {"--resume", name == "classify" ? "--max-length" : "--top-k", "7"}));
    EXPECT_EQ(changed.code, 1);
    EXPECT_TRUE(has(changed.err, name == "classify" ? "max_length was 32, is 7" : "top_k was 5, is 7"));
    EXPECT_TRUE(has(run(lines_command(name, parts)).err, "--resume continues"));
    const Outcome resumed = run(lines_command(name, parts, {"--resume"}));
    EXPECT_EQ(resumed.code, 0) << resumed.err;
    EXPECT_TRUE(has(resumed.err, "resuming after"));
    EXPECT_EQ(bytes(parts), bytes(whole));
    EXPECT_EQ(has(resumed.err, "texts have no [MASK] within"), has(uninterrupted.err, "texts have no [MASK] within"));
    EXPECT_FALSE(there(parts + ".part") || there(parts + ".part.state"));
    EXPECT_EQ(run(lines_command(name, parts)).code, 1);
    EXPECT_EQ(run(lines_command(name, parts, {"--overwrite"})).code, 0);
  }
}

TEST_F(ResumeLines, CtrlCAndAFullDiskLeaveWhatCanBeContinued) {
  for (const std::string name : {"classify", "fill-mask"}) {
    const std::string whole = name + ".whole.jsonl", stopped = name + ".stopped.jsonl", full = name + ".full.jsonl";
    ASSERT_EQ(run(lines_command(name, whole)).code, 0);
    HowToRun how;
    how.signal = SIGINT;
    how.signal_when = [&] { return has_begun(stopped); };
    const Outcome interrupted = run(lines_command(name, stopped), how);
    EXPECT_EQ(interrupted.code, 130) << interrupted.err;
    EXPECT_TRUE(has(interrupted.err, "the same command with --resume continues there"));
    HowToRun small;
    small.largest_file = 20000;
    const Outcome no_space = run(lines_command(name, full), small);
    EXPECT_EQ(no_space.code, 1);
    EXPECT_TRUE(has(no_space.err, "cannot write"));
    for (const std::string& out : {stopped, full}) {
      EXPECT_FALSE(there(out));
      EXPECT_EQ(run(lines_command(name, out, {"--resume"})).code, 0);
      EXPECT_EQ(bytes(out), bytes(whole));
    }
  }
}

TEST_F(ResumeLines, TheFileHoldsWhatStdoutShows) {
  scratch_.put("in.txt", "green [MASK]\nriver\n");
  for (const std::string name : {"classify", "fill-mask"}) {
    const Outcome file = run(lines_command(name, name + ".jsonl", {"--json"}));
    EXPECT_EQ(file.code, 0) << file.err;
    EXPECT_EQ(json_lines(file.out).at(0).at("texts").integer(), 2);
    std::vector<std::string> to_stdout = lines_command(name, "", {"--json"});
    to_stdout[5] = "-";
    EXPECT_EQ(run(to_stdout).out, bytes(name + ".jsonl"));
    EXPECT_TRUE(has(run(lines_command(name, name + ".csv")).err, "end its name in .jsonl"));
  }
}

TEST_F(Resume, BrokenStatesAreRefused) {
  for (const char* state :
       {"", "{", "[]", "{\"texts\":5}", "{\"texts\":-1,\"tokens\":0,\"truncated\":0,\"input_hash\":\"\",\"settings\":{}}"}) {
    scratch_.put("a.npy.part.state", state);
    scratch_.put("a.npy.part", "rows");
    const Outcome outcome = run(command("a.npy", {"--resume"}));
    EXPECT_EQ(outcome.code, 1) << state;
    EXPECT_TRUE(has(outcome.err, "a.npy.part"));
    EXPECT_EQ(bytes("a.npy.part"), "rows");
  }
}

}  // namespace
}  // namespace m2bert::test
