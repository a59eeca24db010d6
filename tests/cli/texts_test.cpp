// What every command makes of its input: the same rules for all of them.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "m2bert/io/json.h"
#include "tests/cli/program.h"
#include "tests/support/scratch.h"
#include "tests/support/tiny_models.h"

namespace m2bert::test {
namespace {

using Arguments = std::vector<std::string>;

class Texts : public ::testing::Test {
 protected:
  std::string put(const std::string& name, std::string_view content) const { return scratch.put(name, content).string(); }
  std::string at(const std::string& name) const { return (scratch / name).string(); }

  // Every command that reads texts, with this input.
  std::vector<Arguments> commands(const std::string& input) const {
    const TinyModels& models = tiny_models();
    return {{"tokenize", input},
            {"embed", "--model", models.m2, input},
            {"classify", "--model", models.classifier, input},
            {"fill-mask", "--model", models.masked_lm, input},
            {"similarity", "--model", models.m2, "--query", "river", "--corpus", input},
            {"data", "build", "--out", at("out"), input}};
  }
  static Outcome run_with(Arguments arguments, const Arguments& more, const HowToRun& how = {}) {
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments, how);
  }
  void expect_refused(const std::string& input, const std::string& message, const Arguments& options = {}) const {
    for (const Arguments& command : commands(input)) {
      const Outcome outcome = run_with(command, options);
      EXPECT_NE(outcome.code, 0) << command[0] << " " << input;
      EXPECT_TRUE(has(outcome.err, message)) << command[0];
      EXPECT_FALSE(std::filesystem::exists(scratch / "out/train"));
      if (command[0] == "tokenize") continue;  // it prints each text at once
      EXPECT_EQ(outcome.out, "") << command[0];
    }
  }
  // The ids of each text.
  static std::vector<std::string> tokens(const Arguments& arguments, const HowToRun& how = {}) {
    const Outcome outcome = run_with({"tokenize", "--json"}, arguments, how);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    std::vector<std::string> all;
    for (const io::Tree& line : json_lines(outcome.out)) all.push_back(io::to_json(line.at("ids")));
    return all;
  }
  std::vector<std::string> built(const std::string& out) const {
    std::vector<std::string> texts;
    const Outcome outcome = run({"data", "show", at(out) + "/train", "--samples", "1000", "--json"});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    const auto lines = json_lines(outcome.out);
    for (const io::Tree& sample : lines.at(0).at("first_samples").items()) texts.push_back(sample.at("text").string());
    return texts;
  }

  Scratch scratch;
};

TEST_F(Texts, LinesMayEndInCarriageReturns) {
  const std::string plain = put("plain.txt", "green tree\nriver\nhouse\n");
  const auto want = tokens({plain});
  EXPECT_EQ(want.size(), 3u);
  EXPECT_EQ(tokens({put("mac.txt", "green tree\rriver\rhouse\r")}), want);
  EXPECT_EQ(tokens({put("mixed.txt", "green tree\r\nriver\rhouse\n")}), want);
  EXPECT_EQ(tokens({put("mac.csv", "id,text\r1,green tree\r2,river\r3,house\r")}), want);
  EXPECT_EQ(tokens({put("mac.jsonl", "{\"text\":\"green tree\"}\r{\"text\":\"river\"}\r{\"text\":\"house\"}\r")}), want);
  EXPECT_EQ(run({"data", "build", at("mac.txt"), "--out", at("out")}).code, 0);
  EXPECT_EQ(built("out"), (std::vector<std::string>{"green tree", "river", "house"}));
}

TEST_F(Texts, BinaryAndForeignFilesAreRefusedByEveryCommand) {
  expect_refused(put("a.txt", std::string("\x93NUMPY\x01\0v\0{'descr'", 18)), "a.txt: is no text; it looks like a NumPy array");
  expect_refused(put("b.csv", std::string("\xff\xfet\0e\0x\0t\0", 10)), "b.csv: is UTF-16; convert it to UTF-8 first (iconv -f UTF-16");
  expect_refused(tiny_models().m2 + "/model.safetensors", "is no text; it looks like a safetensors file");
}

TEST_F(Texts, BadTextsAreRefusedByEveryCommand) {
  const std::string remedy = "; --skip-bad passes over such lines";
  expect_refused(put("a.txt", "river\ncaf\xe9\n"), "a.txt:2: is not UTF-8 from byte 3 on");
  expect_refused(put("a.txt", "river\ncaf\xe9\n"), remedy);
  expect_refused(put("b.jsonl", "{\"text\":\"river\"}\n{\"text\":\"\\ud83d\"}\n"), "b.jsonl:2: an escape is half of a surrogate pair");
  expect_refused(put("c.csv", "text,id\nriver\n"), "c.csv:2: has 1 column, the first line has 2");
  expect_refused(put("d.csv", "text;id\nriver;1\n"), "give --delimiter ';'");
  expect_refused(at("a.txt"), "--field is for JSON lines and tables", {"--field", "text"});
  expect_refused(at("b.jsonl"), "--delimiter is for tables", {"--delimiter", ";"});
  expect_refused(at("d.csv"), "wants one character", {"--delimiter", ";;"});
}

TEST_F(Texts, BadTextsArePassedOverAndCountedByEveryCommand) {
  const std::string input =
      put("a.jsonl", "{\"text\":\"green [MASK]\"}\n{\"text\":\"\\ud83d\"}\n{\"text\":\"x\",\"n\":NaN}\n{\"text\":\"river [MASK]\"}\n");
  for (const Arguments& command : commands(input)) {
    const Outcome outcome = run_with(command, {"--skip-bad", "--json"});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_TRUE(has(outcome.err, "2 texts were passed over (--skip-bad); the first: " + input + ":2: ")) << command[0];
    EXPECT_EQ(outcome.err.find("passed over"), outcome.err.rfind("passed over")) << outcome.err;
    const auto lines = json_lines(outcome.out);
    if (command[0] == "embed" || command[0] == "classify" || command[0] == "fill-mask") {
      ASSERT_EQ(lines.size(), 2u);
      EXPECT_EQ(lines[0].at("index").integer(), 0);
      EXPECT_EQ(lines[1].at("index").integer(), 3);
    }
    if (command[0] == "similarity") {
      EXPECT_EQ(lines.at(0).at("skipped").integer(), 2);
      EXPECT_EQ(lines[0].at("passages").integer(), 2);
      const auto& hits = lines[0].at("results").items().at(0).at("hits").items();
      EXPECT_EQ(hits.at(0).at("index").integer() + hits.at(1).at("index").integer(), 3);
    }
    if (command[0] == "data") {
      EXPECT_EQ(lines.at(0).at("bad").integer(), 2);
    }
  }
  EXPECT_EQ(built("out"), (std::vector<std::string>{"green [MASK]", "river [MASK]"}));
}

TEST_F(Texts, IfNoTextIsLeftTheOutputIsEmpty) {
  const std::string input = put("a.jsonl", "{\"text\":\"fine\",\"score\":NaN}\n");
  const Outcome outcome = run({"embed", "--model", tiny_models().m2, input, "--skip-bad"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.out, "");
  EXPECT_TRUE(has(outcome.err, "1 text was passed over (--skip-bad): " + input + ":1: NaN is no JSON"));
  EXPECT_TRUE(has(outcome.err, "the input has no texts"));
  EXPECT_TRUE(has(run({"data", "build", input, "--out", at("out"), "--skip-bad"}).err, "all empty or passed over"));
}

TEST_F(Texts, DelimitersForEveryCommand) {
  const std::string input = put("a.csv", "id;text\n1;\"green; [MASK]\"\n2;river [MASK]\n");
  for (const Arguments& command : commands(input)) {
    const Outcome outcome = run_with(command, {"--delimiter", ";"});
    EXPECT_EQ(outcome.code, 0) << command[0] << ": " << outcome.err;
  }
  EXPECT_EQ(built("out"), (std::vector<std::string>{"green; [MASK]", "river [MASK]"}));
  EXPECT_EQ(tokens({put("tabs.csv", "id\ttext\n1\triver\n"), "--delimiter", "\\t"}), tokens({"--text", "river"}));
}

TEST_F(Texts, PipesForEveryCommand) {
  const std::string pipe = at("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  for (const Arguments& command : commands(pipe)) {
    std::thread writer([&] { std::ofstream(pipe) << "green [MASK]\nriver [MASK]\n"; });
    const Outcome outcome = run(command);
    writer.join();
    EXPECT_EQ(outcome.code, 0) << command[0] << ": " << outcome.err;
  }
  EXPECT_EQ(built("out"), (std::vector<std::string>{"green [MASK]", "river [MASK]"}));
  for (const Arguments& more : {Arguments{"--val-count", "1"}, {"--resume"}}) {
    const Outcome outcome = run_with({"data", "build", pipe, "--out", at("other")}, more);
    EXPECT_EQ(outcome.code, 1);
    EXPECT_TRUE(has(outcome.err, "which a pipe cannot") || has(outcome.err, "a pipe cannot be read again")) << outcome.err;
  }
}

// The rows of a text come before the next text is there.
TEST_F(Texts, RowsDoNotWaitForLaterTexts) {
  const std::string pipe = at("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  for (const Arguments& command : commands(pipe)) {
    if (command[0] != "embed" && command[0] != "classify" && command[0] != "fill-mask") continue;
    const int writer = ::open(pipe.c_str(), O_RDWR | O_CLOEXEC);  // does not wait for a reader
    ASSERT_GE(writer, 0);
    HowToRun how;
    how.meanwhile = [&](const Running& program) {
      const auto lines = [&] {
        const std::string out = content(program.out_file);
        return std::count(out.begin(), out.end(), '\n');
      };
      const std::string text = "green [MASK]\n";
      for (int texts = 1; texts <= 3; ++texts) {
        EXPECT_EQ(::write(writer, text.data(), text.size()), ssize_t(text.size()));
        const auto late = std::chrono::steady_clock::now() + std::chrono::seconds(30);
        while (lines() < texts && std::chrono::steady_clock::now() < late && !program.has_ended())
          std::this_thread::sleep_for(std::chrono::milliseconds(5));
        EXPECT_EQ(lines(), texts) << command[0];
      }
      ::close(writer);
      if (HasFailure()) ::kill(program.pid, SIGKILL);  // it may wait for the pipe
    };
    const Outcome outcome = run_with(command, {"--batch-size", "1", "--pad", "max", "--json"}, how);
    EXPECT_EQ(outcome.code, 0) << command[0] << ": " << outcome.err;
  }
}

TEST_F(Texts, OptionsThatAreNotUtf8AreRefused) {
  const std::string model = tiny_models().m2;
  for (const Arguments& arguments : {Arguments{"tokenize", "--text", "caf\xe9"},
                                     {"tokenize", "--text", "a", "--pair", "caf\xe9"},
                                     {"embed", "--model", model, "--text", "caf\xe9"},
                                     {"similarity", "--model", model, "--a", "caf\xe9", "--b", "b"}}) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.code, 2);
    EXPECT_TRUE(has(outcome.err, "is not UTF-8 from byte 3 on: caf\\xe9"));
  }
  for (const Arguments& more : {Arguments{"--field", "a"}, {"--format", "csv"}, {"--delimiter", ";"}, {"--skip-bad"}}) {
    const Outcome outcome = run_with({"tokenize", "--text", "a"}, more);
    EXPECT_EQ(outcome.code, 2);
    EXPECT_TRUE(has(outcome.err, "it does not go with --text"));
  }
}

TEST_F(Texts, KeepsFieldsInTheOutput) {
  const TinyModels& models = tiny_models();
  const std::string input = put("a.jsonl",
                                "{\"id\":7,\"text\":\"green [MASK]\",\"doc\":{\"tags\":[\"a\",null]},\"label\":\"x\"}\n"
                                "{\"text\":\"river [MASK]\",\"id\":\"008\",\"doc\":{\"tags\":0.5},\"label\":\"y\"}\n");
  for (const Arguments& command :
       {Arguments{"embed", "--model", models.m2}, {"classify", "--model", models.classifier}, {"fill-mask", "--model", models.masked_lm}}) {
    const Outcome outcome = run_with(command, {input, "--json", "--keep", "id", "--keep", "doc.tags,label=gold"});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_TRUE(has(outcome.out, "{\"index\":0,\"id\":7,\"doc.tags\":[\"a\",null],\"gold\":\"x\",\"truncated\":false,"));
    EXPECT_TRUE(has(outcome.out, "{\"index\":1,\"id\":\"008\",\"doc.tags\":0.5,\"gold\":\"y\",\"truncated\":false,"));
  }
  const Outcome hits = run({"similarity", "--model", models.m2, "--query", "river", "--corpus", input, "--keep", "id", "--json"});
  EXPECT_TRUE(has(hits.out, "\"text\":\"green [MASK]\",\"id\":7}"));
  const std::string csv = put("a.csv", "id;text\n007;river\n");
  EXPECT_TRUE(has(run({"embed", "--model", models.m2, csv, "--delimiter", ";", "--keep", "id"}).out, "{\"index\":0,\"id\":\"007\","));
}

TEST_F(Texts, KeepIsRefusedWhereItCannotAct) {
  const TinyModels& models = tiny_models();
  const std::string input = put("a.jsonl", "{\"id\":18446744073709551615,\"text\":\"river\"}\n");
  const auto error = [&](const Arguments& arguments) {
    const Outcome outcome = run(arguments);
    EXPECT_NE(outcome.code, 0);
    return outcome.err;
  };
  EXPECT_TRUE(
      has(error({"embed", "--model", models.m2, input, "--keep", "id"}), "a.jsonl:1: the field \"id\" is a number that cannot be carried"));
  EXPECT_TRUE(has(error({"embed", "--model", models.m2, input, "--keep", "ID"}), "a.jsonl:1: has no field \"ID\" to keep"));
  EXPECT_TRUE(has(error({"embed", "--model", models.m2, input, "--keep", "id", "-o", at("a.npy")}), "--keep carries fields into JSON"));
  EXPECT_TRUE(has(error({"classify", "--model", models.classifier, input, "--keep", "id"}), "give --json"));
  EXPECT_TRUE(has(error({"classify", "--model", models.classifier, input, "--json", "--keep", "label"}), "--keep label=my_label"));
  EXPECT_TRUE(has(error({"embed", "--model", models.m2, input, "--keep", "id", "--keep", "text=id"}), "a field of that name already"));
  EXPECT_TRUE(
      has(error({"embed", "--model", models.m2, put("a.txt", "river\n"), "--keep", "id"}), "a.txt: is read as text, and fields are for"));
  EXPECT_TRUE(has(error({"embed", "--model", models.m2, "--text", "a", "--keep", "id"}), "it does not go with --text"));
  EXPECT_FALSE(std::filesystem::exists(scratch / "a.npy"));
}

TEST_F(Texts, OtherKeptFieldsCannotBeResumed) {
  std::string lines;
  for (int i = 0; i < 2000; ++i) lines += "{\"text\":\"river\",\"id\":" + std::to_string(i) + "}\n";
  const std::string input = put("a.jsonl", lines), model = tiny_models().m2;
  const Arguments command = {"embed",        "--model", model,      input,      "--batch-size",         "4",
                             "--save-every", "0",       "--resume", "--output", at("a.jsonl.out.jsonl")};
  HowToRun how;
  how.signal_when = [&] { return std::filesystem::exists(at("a.jsonl.out.jsonl.part.state")); };
  EXPECT_EQ(run_with(command, {"--keep", "id"}, how).code, 137);
  EXPECT_TRUE(has(run(command).err, "keep"));
  put("a.jsonl", lines.replace(lines.find("\"id\":199}"), 8, "\"id\":200"));
  EXPECT_TRUE(has(run_with(command, {"--keep", "id"}).err, "input"));
}

// Standard input is a terminal.
TEST_F(Texts, OnATerminalCommandsSayWhatToGive) {
  const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY);
  ASSERT_TRUE(terminal >= 0 && ::grantpt(terminal) == 0 && ::unlockpt(terminal) == 0);
  HowToRun how;
  how.input_file = ::ptsname(terminal);
  for (const Arguments& command : {Arguments{"tokenize"}, {"embed", "--model", tiny_models().m2}}) {
    const Outcome outcome = run(command, how);
    EXPECT_EQ(outcome.code, 2);
    EXPECT_TRUE(has(outcome.err, "no texts: give --text TEXT, a file, or pipe texts in"));
  }
  ::close(terminal);
}

TEST_F(Texts, AResumedRunPassesOverTheSameTexts) {
  std::string lines;
  for (int i = 0; i < 200; ++i) lines += "{\"text\":\"river " + std::to_string(i) + (i % 50 == 7 ? "\\ud83d" : "") + "\"}\n";
  const std::string input = put("a.jsonl", lines), model = tiny_models().m2;
  const Arguments command = {"embed", "--model", model, input, "--skip-bad", "--batch-size", "4", "--resume"};
  ASSERT_EQ(run_with(command, {"--output", at("whole.jsonl")}).code, 0);
  HowToRun how;
  how.signal_when = [&] { return std::filesystem::exists(at("part.jsonl.part.state")); };
  EXPECT_EQ(run_with(command, {"--output", at("part.jsonl"), "--save-every", "0"}, how).code, 137);
  EXPECT_EQ(run_with(command, {"--output", at("part.jsonl")}).code, 0);
  EXPECT_EQ(content(at("part.jsonl")), content(at("whole.jsonl")));
  const auto rows = json_lines(content(at("whole.jsonl")));
  ASSERT_EQ(rows.size(), 196u);
  EXPECT_EQ(rows[7].at("index").integer(), 8);
  EXPECT_EQ(rows.back().at("index").integer(), 199);
  const Outcome outcome = run_with(command, {"--output", at("a.npy"), "--json"});
  EXPECT_EQ(json_lines(outcome.out).at(0).at("skipped").integer(), 4);
  EXPECT_EQ(json_lines(outcome.out)[0].at("texts").integer(), 196);
}

}  // namespace
}  // namespace m2bert::test
