// m2bert man: a page for every command, with every option of its help, in troff without faults.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <regex>
#include <set>

#include "tests/cli/program.h"
#include "tests/support/scratch.h"

namespace m2bert::test {
namespace {

// The names of the commands that stand in a help text below the line `title`.
std::vector<std::string> commands_in(const std::string& help, const std::string& title) {
  std::vector<std::string> names;
  const size_t begin = help.find(title + "\n");
  if (begin == std::string::npos) return names;
  const std::string listed = help.substr(begin, help.find("\n\n", begin) - begin);
  const std::regex name("\n  ([a-z-]+)  ");
  for (auto it = std::sregex_iterator(listed.begin(), listed.end(), name); it != std::sregex_iterator(); ++it) names.push_back((*it)[1]);
  return names;
}

// The words of every command, with its subcommand if it has some: {"data"}, {"data", "build"}, ...
std::vector<std::vector<std::string>> every_command() {
  std::vector<std::vector<std::string>> all;
  for (const std::string& command : commands_in(run({}).out, "Commands:")) {
    all.push_back({command});
    for (const std::string& inner : commands_in(run({command, "--help"}).out, "Subcommands:")) all.push_back({command, inner});
  }
  return all;
}

std::vector<std::string> with(std::vector<std::string> words, const std::string& first, const std::string& last) {
  if (!first.empty()) words.insert(words.begin(), first);
  if (!last.empty()) words.push_back(last);
  return words;
}

std::string file_of(const std::vector<std::string>& words) {
  std::string name = "m2bert";
  for (const std::string& word : words) name += "-" + word;
  return name + ".1";
}

// Text as a reader sees it: without fonts and escapes.
std::string plain(std::string page) {
  for (const auto& [from, to] : {std::pair{"\\fB", ""}, {"\\fI", ""}, {"\\fR", ""}, {"\\-", "-"}, {"\\(aq", "'"}, {"\\e", "\\"}})
    for (size_t at; (at = page.find(from)) != std::string::npos;) page.replace(at, std::string(from).size(), to);
  return page;
}

TEST(Man, ThePageOfTheProgramListsTheCommands) {
  const Outcome outcome = run({"man"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_TRUE(outcome.out.starts_with(".TH M2BERT 1 \"")) << outcome.out.substr(0, 80);
  for (const char* part :
       {"\n.SH NAME\nm2bert \\- Monarch Mixer BERT\n", "\n.SH SYNOPSIS\n\\fBm2bert\\fR [\\fIOPTION\\fR]... \\fICOMMAND\\fR ...\n",
        "\n.TP\n\\fBm2bert\\-fill\\-mask\\fR(1)\nPredict the tokens at [MASK].\n", "\n.SH EXIT STATUS\n",
        "\\fB\\-\\-threads\\fR \\fIN\\fR\n"})
    EXPECT_TRUE(has(outcome.out, part)) << part;
}

TEST(Man, APageHasArgumentsOptionsChoicesAndExamples) {
  const std::string build = run({"man", "data", "build"}).out;
  for (const char* part :
       {".TH M2BERT\\-DATA\\-BUILD 1 \"", "\n.SH NAME\nm2bert\\-data\\-build \\- make a data set from text files\n",
        "\n\\fBm2bert data build\\fR [\\fIOPTION\\fR]... \\fIinput\\fR...\n", "\n.TP\n\\fB\\-\\-documents\\fR \\fBline\\fR|\\fBfile\\fR\n",
        "Default: line.\n", "\n.EX\nm2bert data build corpus.txt \\-\\-out my\\-data \\-\\-val\\-fraction 0.01\n.EE\n",
        "\n.SH SEE ALSO\n\\fBm2bert\\fR(1),\n\\fBm2bert\\-data\\fR(1)\n"})
    EXPECT_TRUE(has(build, part)) << part;
  // Each choice on a line of its own, and a line that ends within a sentence continues.
  EXPECT_TRUE(
      has(run({"man", "embed"}).out, "\n.br\nlongest: the longest text of the batch. With M2-BERT a text's vector then\ndepends on"));
  EXPECT_TRUE(has(run({"man", "completion"}).out, "\n\\fIshell\\fR: \\fBbash\\fR|\\fBzsh\\fR|\\fBfish\\fR\n"));
  EXPECT_TRUE(has(run({"man", "serve"}).out, "Environment: M2BERT_PORT.\n"));
  EXPECT_FALSE(has(run({"man", "finetune", "glue"}).out, "\\-\\-job\\fR"));  // not in the help either
}

TEST(Man, EveryPageHasEveryOptionOfTheHelp) {
  const std::regex option("(?:^|\n)  (?:-[a-zA-Z],)?(--[a-z0-9-]+)");
  const auto all = every_command();
  EXPECT_GT(all.size(), 30u);
  for (const auto& words : all) {
    const std::string help = run(with(words, "", "--help")).out, page = plain(run(with(words, "man", "")).out);
    for (auto it = std::sregex_iterator(help.begin(), help.end(), option); it != std::sregex_iterator(); ++it)
      EXPECT_TRUE(has(page, (*it)[1].str())) << file_of(words) << " lacks " << (*it)[1];
  }
}

TEST(Man, AllWritesOnePageACommand) {
  const Scratch scratch;
  const auto folder = scratch / "new" / "man1";
  ASSERT_EQ(run({"man", "--all", folder.string()}).code, 0);
  std::set<std::string> expected{"m2bert.1"}, written;
  for (const auto& words : every_command()) expected.insert(file_of(words));
  for (const auto& entry : std::filesystem::directory_iterator(folder)) written.insert(entry.path().filename().string());
  EXPECT_EQ(written, expected);
  EXPECT_EQ(content((folder / "m2bert-eval-beir.1").string()), run({"man", "eval", "beir"}).out);
}

TEST(Man, Errors) {
  const Outcome unknown = run({"man", "embd"});
  EXPECT_EQ(unknown.code, 2);
  EXPECT_TRUE(has(unknown.err, "unknown command 'embd'; did you mean 'embed'?")) << unknown.err;
  EXPECT_EQ(run({"man", "embed", "build"}).code, 2);
  EXPECT_EQ(run({"man", "embed", "--all", "pages"}).code, 2);
  const Scratch scratch;
  const Outcome blocked = run({"man", "--all", scratch.put("file", "").string()});
  EXPECT_EQ(blocked.code, 1);
  EXPECT_TRUE(has(blocked.err, "file")) << blocked.err;
}

TEST(Man, TheTroffIsWithoutFaults) {
  if (std::system("command -v mandoc > /dev/null") != 0) GTEST_SKIP() << "mandoc is not installed";
  const Scratch scratch;
  ASSERT_EQ(run({"man", "--all", scratch.folder().string()}).code, 0);
  const std::string out = (scratch / "lint").string();
  std::system(("mandoc -T lint -W style " + scratch.folder().string() + "/*.1 > " + out + " 2>&1").c_str());
  EXPECT_EQ(content(out), "");
}

}  // namespace
}  // namespace m2bert::test
