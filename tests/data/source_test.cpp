#include "m2bert/data/source.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <vector>

#include "tests/support/scratch.h"

namespace m2bert::data {
namespace {

using test::error_of;
using test::has;
using test::Scratch;

std::vector<std::string> all_of(const std::filesystem::path& path, const SourceOptions& options = {}) {
  auto source = open_source(path, options);
  std::vector<std::string> out;
  for (std::string text; source->next(text);) out.push_back(text);
  return out;
}

using Texts = std::vector<std::string>;

class SourceTest : public ::testing::Test {
 protected:
  Texts read(const std::string& name, const std::string& content, const SourceOptions& options = {}) {
    return all_of(scratch.put(name, content), options);
  }
  std::string error(const std::string& name, const std::string& content, const SourceOptions& options = {}) {
    return error_of([&] { read(name, content, options); });
  }
  Scratch scratch;
};

TEST_F(SourceTest, TextLines) {
  EXPECT_EQ(read("a.txt", "one\ntwo\r\n\n three \nlast"), (Texts{"one", "two", "", " three ", "last"}));
  EXPECT_EQ(read("a.txt", "one\n"), (Texts{"one"}));
  EXPECT_EQ(read("a.txt", ""), Texts{});
  EXPECT_EQ(read("a.txt", "\n"), (Texts{""}));
  EXPECT_EQ(read("a.txt", "\r\n\r"), (Texts{"", ""}));
  EXPECT_EQ(read("a.txt", std::string("a\0b\xff\n", 5)), (Texts{std::string("a\0b\xff", 4)}));
  EXPECT_EQ(read("a.txt", "\xEF\xBB\xBFone\n"), (Texts{"one"}));
  EXPECT_EQ(read("a.txt", "\xEF\xBB\xBF"), Texts{});
  const std::string wide(3 << 20, 'w');
  EXPECT_EQ(read("a.txt", wide + "\n" + wide), (Texts{wide, wide}));
}

TEST_F(SourceTest, TextProblems) {
  EXPECT_TRUE(has(error("a.txt", "ok\n" + std::string(2000, 'x') + "\n", {.max_record_bytes = 1000}),
                  "a.txt:2: the record is longer than 1000 bytes"));
  EXPECT_TRUE(has(error("a.txt", std::string(5 << 20, 'x'), {.max_record_bytes = 1 << 20}), "a.txt:1: the record is longer"));
  EXPECT_TRUE(has(error("a.txt", std::string("\xff\xfe"
                                             "a\0",
                                             4)),
                  "is UTF-16"));
  EXPECT_TRUE(has(error("a.json", "[]"), "which format"));
  EXPECT_TRUE(has(error_of([&] { all_of(scratch / "none.txt"); }), "none.txt: no such file"));
  EXPECT_TRUE(has(error_of([&] { all_of(scratch.folder()); }), "is a folder"));
  EXPECT_TRUE(has(error_of([] { parse_format("xml"); }), "unknown format \"xml\""));
  EXPECT_EQ(parse_format("jsonl"), Format::jsonl);
}

TEST_F(SourceTest, JsonLines) {
  EXPECT_EQ(read("a.jsonl", "{\"text\":\"one\"}\r\n\n  \n{\"id\":2,\"text\":\"t\\u00e9\\n\"}"), (Texts{"one", "t\xC3\xA9\n"}));
  EXPECT_EQ(read("a.ndjson", "{\"d\":{\"b\":[\"x\",\"y\"]}}\n", {.field = "d.b.1"}), (Texts{"y"}));
  EXPECT_EQ(read("a.txt", "{\"text\":\"one\"}\n", {.format = Format::jsonl}), (Texts{"one"}));
}

TEST_F(SourceTest, JsonLinesProblemsNameLineAndField) {
  const std::string good = "{\"text\":\"a\"}\n\n";
  for (const char* bad :
       {"{", "[]", "\"text\"", "{\"text\":1}", "{\"text\":null}", "{\"text\":[]}", "{\"text\":{}}", "{\"txt\":\"a\"}", "{\"text\":\"a\"}}",
        "{\"text\":\"a\"", "nope", "{\"text\":\"\xff\"}", "{\"text\":\"a\" \"b\"}", "{\"text\":\"\\ud800\"}", "{\"text\":NaN}",
        "{'text':'a'}", "{\"text\":\"a\",\"text\":\"b\"}", "{\"text\":\"a\",}"}) {
    EXPECT_TRUE(has(error("a.jsonl", good + bad + "\n"), "a.jsonl:3: ")) << bad;
  }
  EXPECT_TRUE(has(error("a.jsonl", "{\"a\":{\"b\":1}}", {.field = "a.b"}), "the field \"a.b\" wants a string, got 1"));
  EXPECT_NE(error("a.jsonl", "{}", {.field = "a..b"}), "");
}

TEST_F(SourceTest, Csv) {
  const std::string text = "id,text\n1,plain\n\n2,\"with, comma\"\r\n3,\"two\nlines \"\"quoted\"\"\"\n4,\n5,a \"b\" c\n6,\"\"";
  const Texts want = {"plain", "with, comma", "two\nlines \"quoted\"", "", "a \"b\" c", ""};
  EXPECT_EQ(read("a.csv", text), want);
  EXPECT_EQ(read("a.csv", text, {.field = "2"}), want);
  EXPECT_EQ(read("a.csv", text, {.field = "id"}), (Texts{"1", "2", "3", "4", "5", "6"}));
  EXPECT_EQ(read("a.csv", "x,y\nz,w", {.field = "2", .header = false}), (Texts{"y", "w"}));
  EXPECT_EQ(read("a.csv", "only\nx\n"), (Texts{"x"}));
  EXPECT_EQ(read("a.csv", "x\ny\n", {.header = false}), (Texts{"x", "y"}));
  EXPECT_EQ(read("a.csv", "\xEF\xBB\xBFtext\nx\n"), (Texts{"x"}));
  EXPECT_EQ(read("a.csv", "\"te\"\"xt\",b\r\nx,1\r\n", {.field = "te\"xt"}), (Texts{"x"}));
  EXPECT_EQ(read("a.csv", "text\n\"a\r\nb\"\r\n"), (Texts{"a\r\nb"}));
}

TEST_F(SourceTest, CsvProblemsNameTheLine) {
  EXPECT_TRUE(has(error("a.csv", "text,b\n1,2\n1,2,3\n"), "a.csv:3: has 3 columns, the first line has 2"));
  EXPECT_TRUE(has(error("a.csv", "text,b\n\"open,2\n1\n"), "a.csv:2: a quote is not closed"));
  EXPECT_TRUE(has(error("a.csv", "text,b\n\"x\"y,2\n"), "a.csv:2: text behind the closing quote"));
  EXPECT_TRUE(has(error("a.csv", "a,b\n1,2\n"), "has no column \"text\"; it has a, b"));
  EXPECT_TRUE(has(error("a.csv", "a,b\n1,2\n", {.field = "c"}), "has no column \"c\""));
  EXPECT_TRUE(has(error("a.csv", "a,b\n1,2\n", {.field = "3"}), "there is no column 3"));
  EXPECT_TRUE(has(error("a.csv", "a,b\n1,2\n", {.field = "0"}), "has no column \"0\""));
  EXPECT_TRUE(has(error("a.csv", "text,text\n1,2\n"), "two columns text"));
  EXPECT_TRUE(has(error("a.csv", ""), "is empty"));
  EXPECT_TRUE(has(error("a.csv", "1,2\n", {.field = "x", .header = false}), "by its number"));
  EXPECT_TRUE(has(error("a.csv", "1,2\n", {.header = false}), "which one"));
  EXPECT_TRUE(has(error("a.csv", "1,2\n", {.field = "3", .header = false}), "no column 3"));
  EXPECT_TRUE(has(error("a.csv", "text\n\"" + std::string(5000, '\n'), {.max_record_bytes = 1000}), "longer than 1000 bytes"));
}

TEST_F(SourceTest, Tsv) {
  EXPECT_EQ(read("a.tsv", "id\ttext\n1\t\"Stop,\" he said.\n2\t\"a \"\"b\"\"\tc\"\n3\t\"open\n4\ta\"b\n"),
            (Texts{"\"Stop,\" he said.", "a \"b\"\tc", "\"open", "a\"b"}));
  EXPECT_TRUE(has(error("a.tsv", "id\ttext\n1\ta\tb\n"), "a.tsv:2: has 3 columns"));
}

TEST_F(SourceTest, CompressedInput) {
  const auto path = scratch / "a.jsonl.gz";
  gzFile file = gzopen(path.c_str(), "wb");
  gzputs(file, "{\"text\":\"one\"}\n{\"text\":\"two\"}\n");
  gzclose(file);
  EXPECT_EQ(all_of(path), (Texts{"one", "two"}));
}

// Resuming after any record gives the same texts as one pass.
TEST_F(SourceTest, GoesOnFromAnyPosition) {
  const std::vector<std::pair<std::string, std::string>> inputs = {
      {"a.txt", "\xEF\xBB\xBFone\r\n\ntwo\nthree"},
      {"a.jsonl", "{\"text\":\"one\"}\n\n\n{\"text\":\"two\"}\n{\"text\":\"three\"}"},
      {"a.csv", "id,text\n1,\"o\nne\"\n\n2,two\n3,three\n"},
      {"a.tsv", "id\ttext\n1\tone\n2\ttwo\n"},
  };
  for (const auto& [name, content] : inputs) {
    for (const bool compressed : {false, true}) {
      auto path = scratch.put(name, content);
      if (compressed) {
        path += ".gz";
        gzFile file = gzopen(path.c_str(), "wb");
        gzwrite(file, content.data(), static_cast<unsigned>(content.size()));
        gzclose(file);
      }
      const Texts whole = all_of(path);
      for (size_t cut = 0; cut <= whole.size(); ++cut) {
        auto first = open_source(path);
        Texts got;
        std::string text;
        while (got.size() < cut && first->next(text)) got.push_back(text);
        auto second = open_source(path);
        second->skip_to(first->position());
        EXPECT_EQ(second->position().record, cut);
        while (second->next(text)) got.push_back(text);
        EXPECT_EQ(got, whole) << path << " " << cut;
      }
    }
  }
}

TEST_F(SourceTest, LineNumbersGoOnToo) {
  const auto path = scratch.put("a.jsonl", "{\"text\":\"one\"}\n{\"text\":\"two\"}\nbad\n");
  auto first = open_source(path);
  std::string text;
  first->next(text);
  auto second = open_source(path);
  second->skip_to(first->position());
  second->next(text);
  EXPECT_TRUE(has(error_of([&] { second->next(text); }), "a.jsonl:3: "));
}

TEST_F(SourceTest, AShorterInputCannotBeContinued) {
  auto source = open_source(scratch.put("a.txt", "one\n"));
  EXPECT_TRUE(has(error_of([&] { source->skip_to({5, 500, 5}); }), "cannot resume at byte 500"));
}

TEST_F(SourceTest, StandardInput) {
  const auto path = scratch.put("in", "one\ntwo\n");
  const int saved = ::dup(STDIN_FILENO), file = ::open(path.c_str(), O_RDONLY);
  ::dup2(file, STDIN_FILENO);
  const Texts got = all_of("-");
  ::lseek(STDIN_FILENO, 0, SEEK_SET);
  auto source = open_source("-");
  source->skip_to({1, 4, 1});
  std::string text;
  EXPECT_TRUE(source->next(text));
  EXPECT_EQ(text, "two");
  EXPECT_EQ(source->name(), "standard input");
  ::dup2(saved, STDIN_FILENO);
  ::close(saved);
  ::close(file);
  EXPECT_EQ(got, (Texts{"one", "two"}));
}

TEST_F(SourceTest, TellsHowFarItIs) {
  auto source = open_source(scratch.put("a.txt", std::string(4 << 20, 'x') + "\n" + std::string(4 << 20, 'x')));
  std::string text;
  source->next(text);
  EXPECT_NEAR(source->fraction().value(), 0.55, 0.1);
}

}  // namespace
}  // namespace m2bert::data
