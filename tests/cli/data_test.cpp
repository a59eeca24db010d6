// m2bert data build, split and show.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <random>

#include "m2bert/io/json.h"
#include "tests/cli/program.h"
#include "tests/support/scratch.h"

namespace m2bert::test {
namespace {

namespace fs = std::filesystem;

class Data : public ::testing::Test {
 protected:
  Data() {
    std::string lines;
    for (int i = 0; i < 2000; ++i) lines += "Document number " + std::to_string(i) + " is about butterflies and moths.\n";
    scratch.put("in.txt", lines);
  }
  std::string at(const std::string& name) const { return (scratch / name).string(); }
  bool there(const std::string& name) const { return fs::exists(scratch / name); }

  Outcome data(std::vector<std::string> arguments, const HowToRun& how = {}) const {
    arguments.insert(arguments.begin(), "data");
    return run(arguments, how);
  }
  Outcome build(const std::string& out, std::vector<std::string> more = {}, const HowToRun& how = {}) const {
    std::vector<std::string> arguments = {"build", at("in.txt"), "--out", at(out)};
    if (std::find(more.begin(), more.end(), "--shard-size") == more.end()) arguments.insert(arguments.end(), {"--shard-size", "4kb"});
    arguments.insert(arguments.end(), more.begin(), more.end());
    return data(arguments, how);
  }
  // Every file of a data set except build.json, which names folders.
  std::map<std::string, std::string> files(const std::string& out) const {
    std::map<std::string, std::string> found;
    for (const auto& entry : fs::recursive_directory_iterator(scratch / out))
      if (entry.is_regular_file() && entry.path().filename() != "build.json")
        found[fs::relative(entry.path(), scratch / out).string()] = content(entry.path().string());
    return found;
  }
  io::Tree show(const std::string& place, std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = {"show", at(place), "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = data(arguments);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    const auto lines = json_lines(outcome.out);
    return lines.empty() ? io::Tree::map() : lines[0];
  }
  static void expect_error(const Outcome& outcome, int code, const std::string& part) {
    EXPECT_EQ(outcome.code, code) << outcome.err;
    EXPECT_TRUE(has(outcome.err, part));
    EXPECT_EQ(outcome.err.find("error: "), outcome.err.rfind("error: ")) << outcome.err;
    EXPECT_EQ(outcome.out, "");
  }

  Scratch scratch;
};

TEST_F(Data, BuildsADataSet) {
  const Outcome outcome = build("out", {"--val-fraction", "0.1", "--compression", "zstd", "--hash", "sha1"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_TRUE(has(outcome.out, "train: 1,800 samples in "));
  EXPECT_TRUE(has(outcome.out, "val: 200 samples in "));
  EXPECT_TRUE(has(outcome.err, "2,000 documents"));
  const io::Tree report = show("out/train", {"--check", "--samples", "2"});
  EXPECT_EQ(report.at("samples").integer(), 1800);
  EXPECT_EQ(report.at("samples_checked").integer(), 1800);
  EXPECT_EQ(report.at("columns").at("text").string(), "str");
  EXPECT_EQ(report.at("hashes").items().at(0).string(), "sha1");
  EXPECT_EQ(report.at("packed_here").integer(), report.at("shards").integer());
  EXPECT_EQ(report.at("first_samples").items().at(0).at("text").string(), "Document number 0 is about butterflies and moths.");
  const io::Tree settings = io::read_json(scratch / "out/train/build.json").at("settings");
  EXPECT_EQ(settings.at("val_fraction").number(), 0.1);
}

TEST_F(Data, JsonLinesTablesFoldersAndPipes) {
  fs::create_directories(scratch / "docs");
  scratch.put("docs/a.txt", "One\nwhole file.");
  scratch.put("docs/b.txt", "Another.");
  scratch.put("a.jsonl", "{\"doc\":{\"body\":\"Nested.\"}}\n");
  EXPECT_EQ(data({"build", at("docs"), "--documents", "file", "--out", at("whole")}).code, 0);
  EXPECT_EQ(show("whole/train", {"--samples", "9"}).at("first_samples").items().at(0).at("text").string(), "One\nwhole file.");
  EXPECT_EQ(data({"build", at("a.jsonl"), "--field", "doc.body", "--out", at("nested")}).code, 0);
  EXPECT_EQ(show("nested/train", {"--samples", "1"}).at("first_samples").items().at(0).at("text").string(), "Nested.");
  const HowToRun piped{.input = "id,text\n1,\"From a, pipe\"\n"};
  EXPECT_EQ(data({"build", "-", "--format", "csv", "--out", at("piped")}, piped).code, 0);
  EXPECT_EQ(show("piped/train", {"--samples", "1"}).at("first_samples").items().at(0).at("text").string(), "From a, pipe");
}

TEST_F(Data, TokenSamplesAsJson) {
  const Outcome outcome = build("out", {"--concat-tokens", "64", "--val-count", "50", "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const io::Tree result = json_lines(outcome.out).at(0);
  EXPECT_EQ(result.at("documents").integer(), 2000);
  EXPECT_EQ(result.at("splits").items().at(0).at("name").string(), "train");
  const io::Tree report = show("out/val", {"--check", "--samples", "1"});
  EXPECT_EQ(report.at("first_samples").items().at(0).at("tokens").at("bytes").integer(), 64 * 8);
  const Outcome wordy = build("wordy", {"--concat-tokens", "64", "--eos-text", "the end"});
  EXPECT_TRUE(has(wordy.err, "--eos-text: is 2 tokens, not one"));
}

TEST_F(Data, SplitsADataSet) {
  ASSERT_EQ(build("out").code, 0);
  const int64_t shards = show("out/train").at("shards").integer();
  for (const char* link : {"", "--link"}) {
    std::vector<std::string> arguments = {"split",          at("out/train"), "--out", at(std::string("split") + link),
                                          "--val-fraction", "0.25",          "--json"};
    if (*link) arguments.emplace_back(link);
    const Outcome outcome = data(arguments);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(json_lines(outcome.out).at(0).at("shards").integer(), static_cast<int64_t>(0.75 * static_cast<double>(shards)));
    EXPECT_EQ(data({"show", at(std::string("split") + link), "--check"}).code, 0);
  }
  expect_error(data({"split", at("out/train"), "--out", at("x")}), 1, "say how much is for validation");
  expect_error(data({"split", at("out"), "--out", at("x"), "--val-shards", "1"}), 1,
               "index.json: no such file; name one data set: " + at("out/train"));
  expect_error(data({"split", at("out/train"), "--out", at("out/train"), "--val-shards", "1"}), 1, "would be written into the data set");
  expect_error(data({"split", at("out/train"), "--val-shards", "1", "--ot", at("x")}), 2, "unknown option or argument '--ot'");
  expect_error(data({"split", at("out/train"), "--val-shards", "1"}), 2, "--out is required");
}

TEST_F(Data, ShowFindsDamage) {
  ASSERT_EQ(build("out").code, 0);
  std::string shard = content(at("out/train/shard.00001.mds"));
  shard.back() ^= 1;
  scratch.put("out/train/shard.00001.mds", shard);
  EXPECT_EQ(data({"show", at("out")}).code, 0);
  const Outcome checked = data({"show", at("out"), "--check"});
  EXPECT_EQ(checked.code, 1);
  EXPECT_TRUE(has(checked.err, "1 problem was found"));
  EXPECT_TRUE(has(checked.out, "shard.00001.mds: is damaged: its xxh64"));
  scratch.put("out/train/shard.00002.mds", "short");
  EXPECT_TRUE(has(data({"show", at("out")}).out, "shard.00002.mds: has 5 bytes"));
  expect_error(data({"show", at("none")}), 1, "none: no such folder");
  expect_error(data({"show", at("in.txt")}), 1, "in.txt");
  expect_error(data({"show", "s3://bucket/x"}), 1, "data is read from folders and from http");
}

TEST_F(Data, ALostIndexIsMadeAnew) {
  ASSERT_EQ(build("out", {"--compression", "zstd"}).code, 0);
  const std::string index = content(at("out/train/index.json"));
  const Outcome there = data({"index", at("out/train")});
  EXPECT_EQ(there.code, 1);
  EXPECT_TRUE(has(there.err, "--overwrite"));
  fs::remove(scratch / "out/train/index.json");
  EXPECT_TRUE(has(data({"show", at("out/train")}).err, "m2bert data index FOLDER makes it anew"));
  const Outcome made = data({"index", at("out/train")});
  EXPECT_EQ(made.code, 0) << made.err;
  EXPECT_TRUE(has(made.out, "train: 2,000 samples in "));
  EXPECT_EQ(content(at("out/train/index.json")), index);
}

TEST_F(Data, ShowNamesPartsThatLostTheirIndex) {
  ASSERT_EQ(build("out", {"--val-fraction", "0.1"}).code, 0);
  EXPECT_EQ(data({"show", at("out")}).code, 0);
  fs::remove(scratch / "out/val/index.json");
  const Outcome outcome = data({"show", at("out")});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(has(outcome.err, "m2bert data index " + at("out/val") + " makes it anew"));
  EXPECT_TRUE(has(outcome.err, "1 problem was found"));
  EXPECT_TRUE(has(outcome.out, at("out/train")));
}

// A run killed at any moment and resumed writes the same files as an uninterrupted one.
TEST_F(Data, KilledAndResumedTheFilesAreTheSame) {
  std::mt19937 random(3);
  for (const bool tokens : {false, true}) {
    std::vector<std::string> options = {"--val-fraction", "0.2", "--compression", "zstd", "--save-seconds", "0.05", "--threads", "2"};
    if (tokens) options.insert(options.end(), {"--concat-tokens", "32"});
    const std::string whole = "whole" + std::to_string(tokens), parts = "parts" + std::to_string(tokens);
    ASSERT_EQ(build(whole, options).code, 0);
    options.emplace_back("--resume");
    int code = 137;
    for (int kills = 0; code != 0; ++kills) {
      HowToRun how;
      if (kills < 8) how.signal_after = std::uniform_real_distribution(0.02, 0.4)(random);
      const Outcome outcome = build(parts, options, how);
      code = outcome.code;
      ASSERT_TRUE(code == 0 || code == 137) << outcome.err;
      EXPECT_TRUE(!there(parts + "/train") || there(parts + "/train/index.json"));
    }
    EXPECT_TRUE(files(parts) == files(whole));
    EXPECT_TRUE(has(build(parts, options).out, "nothing was left to do"));
  }
}

TEST_F(Data, CtrlCKeepsWhatWasDone) {
  HowToRun how{.signal_after = 0.3, .signal = SIGINT};
  std::string lines;
  for (int i = 0; i < 100000; ++i) lines += "Document number " + std::to_string(i) + " is about butterflies and moths.\n";
  scratch.put("in.txt", lines);
  ASSERT_EQ(build("whole", {"--shard-size", "500kb", "--compression", "zstd:19"}).code, 0);
  const Outcome stopped = build("out", {"--shard-size", "500kb", "--compression", "zstd:19", "--save-seconds", "0.05"}, how);
  ASSERT_EQ(stopped.code, 130) << stopped.err;
  EXPECT_TRUE(has(stopped.err, "stopped by Ctrl-C after"));
  EXPECT_TRUE(has(stopped.err, "--resume goes on from there"));
  EXPECT_FALSE(there("out/train"));
  expect_error(build("out", {"--shard-size", "500kb", "--compression", "zstd:19"}), 1,
               "an unfinished run is there; --resume goes on with it, --overwrite starts anew");
  EXPECT_EQ(build("out", {"--shard-size", "500kb", "--compression", "zstd:19", "--resume"}).code, 0);
  EXPECT_TRUE(files("out") == files("whole"));
}

TEST_F(Data, AFullDiskIsAnErrorAndLeavesNothing) {
  const Outcome outcome = build("out", {"--shard-size", "64mb"}, {.largest_file = 50000});
  expect_error(outcome, 1, "cannot write");
  EXPECT_FALSE(there("out"));
}

TEST_F(Data, BadInputsAndCommandLines) {
  scratch.put("bad.jsonl", "{\"text\":\"a\"}\n{\"txt\":\"b\"}\n");
  scratch.put("latin.txt", "ok\ncaf\xe9\n");
  scratch.put("empty.txt", "");
  expect_error(data({"build", at("bad.jsonl"), "--out", at("x")}), 1, "bad.jsonl:2");
  expect_error(data({"build", at("latin.txt"), "--out", at("x")}), 1, "latin.txt:2: is not UTF-8");
  expect_error(data({"build", at("empty.txt"), "--out", at("x")}), 1, "there are no samples for train");
  expect_error(data({"build", at("none.txt"), "--out", at("x")}), 1, "none.txt: no such file");
  expect_error(build("in.txt"), 1, "in.txt: is a file, wants the name of a folder");
  expect_error(data({"build", scratch.folder().string(), "--out", at("x")}), 1, "lies in the folder");
  expect_error(build("x", {"--compression", "rar"}), 1, "unknown compression \"rar\"");
  expect_error(build("x", {"--hash", "crc32"}), 1, "unknown hash \"crc32\"");
  expect_error(build("x", {"--split", "a/b"}), 1, "'a/b' is no name for a folder");
  expect_error(build("x", {"--val-fraction", "0.7"}), 2, "--val-fraction");
  expect_error(build("x", {"--shard-size", "many"}), 2, "--shard-size");
  expect_error(build("x", {"--no-wrap"}), 2, "--no-wrap is for token samples");
  expect_error(build("x", {"--bos-text", "a"}), 2, "--bos-text is for token samples");
  expect_error(build("x", {"--eos-text", "a"}), 2, "--eos-text is for token samples");
  expect_error(build("x", {"--field", "a"}), 2, "--field is for JSON lines and tables");
  expect_error(build("x", {"--documents", "file", "--format", "jsonl"}), 2, "--format is for documents that are lines");
  expect_error(build("x", {"--documents", "file", "--field", "a"}), 2, "--field is for documents that are lines");
  expect_error(data({"build", at("in.txt"), "--output", at("x")}), 2, "unknown option or argument '--output'");
  expect_error(data({"build", at("in.txt")}), 2, "--out is required");
  expect_error(build("x", {"--concat-tokens", "2"}), 2, "--concat-tokens");
  expect_error(data({}), 2, "say what to do");
  expect_error(data({"buil"}), 2, "did you mean 'build'?");
  expect_error(data({"build"}), 2, "m2bert data build --help");
  EXPECT_FALSE(there("x"));
}

TEST_F(Data, BadDocumentsCanBeLeftOut) {
  scratch.put("latin.txt", "ok\ncaf\xe9\nfine\n");
  const Outcome outcome = data({"build", at("latin.txt"), "--skip-bad", "--out", at("x")});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_TRUE(has(outcome.err, "warning: 1 text was passed over (--skip-bad): "));
  EXPECT_EQ(show("x/train").at("samples").integer(), 2);
}

TEST_F(Data, OverwritingReplacesTheValidationDataToo) {
  ASSERT_EQ(build("out", {"--val-fraction", "0.1"}).code, 0);
  expect_error(build("out", {"--resume"}), 1, "is there already, made otherwise: val_fraction was 0.1, is 0.0");
  EXPECT_TRUE(there("out/val"));
  EXPECT_EQ(build("out", {"--overwrite"}).code, 0);
  EXPECT_FALSE(there("out/val"));
  EXPECT_TRUE(there("out/train"));
}

TEST_F(Data, ADamagedStateTouchesNothing) {
  fs::create_directories(scratch / "out/building.part/train");
  scratch.put("out/building.part/state.json", "");
  scratch.put("out/building.part/train/shard.00000.mds", "kept");
  const Outcome outcome = build("out", {"--resume"});
  expect_error(outcome, 1, at("out/building.part/state.json"));
  EXPECT_TRUE(has(outcome.err, "--overwrite starts anew"));
  EXPECT_TRUE(there("out/building.part/train/shard.00000.mds"));
  EXPECT_EQ(build("out", {"--overwrite"}).code, 0);
}

TEST_F(Data, QuietIsQuiet) {
  const Outcome outcome = build("out", {"--quiet"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.err, "");
}

}  // namespace
}  // namespace m2bert::test
