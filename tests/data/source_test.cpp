#include "m2bert/data/source.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <fstream>
#include <vector>

#include "m2bert/data/bad_record.h"
#include "m2bert/io/json.h"
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

std::string content_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

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
  EXPECT_EQ(read("a.txt", "a\rb\r\nc\n\rd\r\r"), (Texts{"a", "b", "c", "", "d", ""}));
  EXPECT_EQ(read("a.txt", "\xEF\xBB\xBFone\n"), (Texts{"one"}));
  EXPECT_EQ(read("a.txt", "\xEF\xBB\xBF"), Texts{});
  const std::string wide(3 << 20, 'w');
  EXPECT_EQ(read("a.txt", wide + "\n" + wide), (Texts{wide, wide}));
}

TEST_F(SourceTest, TextProblems) {
  EXPECT_TRUE(has(error("a.txt", "ok\n" + std::string(2000, 'x') + "\n", {.max_record_bytes = 1000}),
                  "a.txt:2: the line is longer than 1000 bytes"));
  EXPECT_TRUE(has(error("a.txt", std::string(5 << 20, 'x'), {.max_record_bytes = 1 << 20}), "a.txt:1: the line is longer"));
  EXPECT_TRUE(has(error("a.txt", "ok\ncaf\xe9 noir\n"), "a.txt:2: is not UTF-8 from byte 3 on (\\xe9); convert the file"));
  EXPECT_TRUE(has(error("a.txt", "ok\n\xed\xa0\x80\n"), "a.txt:2: is not UTF-8 from byte 0 on"));
  EXPECT_TRUE(has(error("a.txt", std::string("fine\na\0b\n", 9)), "a.txt:2: has a NUL byte (byte 1)"));
  EXPECT_TRUE(has(error("a.json", "[]"), "which format"));
  EXPECT_TRUE(has(error("a.txt", "a\n", {.field = "text"}), "a.txt: is read as text, and fields are for JSON lines and tables"));
  EXPECT_TRUE(has(error("a.jsonl", "{}\n", {.delimiter = ";"}), "a.jsonl: is read as JSON lines, and a delimiter is for tables"));
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
  EXPECT_TRUE(has(error("a.jsonl", "\n[{\"text\":\"a\"}]\n"), "a.jsonl:2: a JSON array is not read; write one object a line"));
  EXPECT_TRUE(has(error("a.jsonl", good + "[]\n"), "a.jsonl:3: wants a JSON object, got []"));
}

TEST_F(SourceTest, JsonLinesMayEndInCarriageReturns) {
  EXPECT_EQ(read("a.jsonl", "{\"text\":\"one\"}\r{\"text\":\"two\"}\r"), (Texts{"one", "two"}));
  EXPECT_EQ(read("a.jsonl", "{\"doc.body\":\"flat\",\"doc\":{\"body\":\"x\"}}\n", {.field = "doc.body"}), (Texts{"flat"}));
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
  EXPECT_EQ(read("a.csv", "id,text\r1,one\r2,\"t\rw\no\"\r\n3,three\n"), (Texts{"one", "t\rw\no", "three"}));
}

TEST_F(SourceTest, CsvWithOtherDelimiters) {
  EXPECT_EQ(read("a.csv", "id;text\n1;\"a;b\"\n2;c,d\n", {.delimiter = ";"}), (Texts{"a;b", "c,d"}));
  EXPECT_EQ(read("a.csv", "id\ttext\n1\t\"a\nb\"\n", {.delimiter = parse_delimiter("\\t")}), (Texts{"a\nb"}));
  EXPECT_EQ(read("a.tsv", "id|text\n1|a\tb\n", {.delimiter = "|"}), (Texts{"a\tb"}));
  EXPECT_EQ(read("a.csv", "id\u00a6text\n1\u00a6\"a\u00a6b\"\n", {.delimiter = "\u00a6"}), (Texts{"a\u00a6b"}));
  EXPECT_EQ(read("a.csv", "text;id\na;1\n", {.delimiter = ","}), (Texts{"a;1"}));  // given: it is one column
  EXPECT_EQ(read("a.csv", "\"text;id\"\na;1\n"), (Texts{"a;1"}));                  // and so if it is quoted
  for (const std::string bad : {"", "ab", "\"", "\n", "\r", "\xff"})
    EXPECT_TRUE(has(error_of([&] { parse_delimiter(bad); }), "one character"));
}

TEST_F(SourceTest, AnotherDelimiterIsNotReadAsOneColumn) {
  EXPECT_TRUE(
      has(error("a.csv", "text;id\na;1\n"), "a.csv:1: the header is one column, \"text;id\", and has ';' in it; give --delimiter ';' if"));
  EXPECT_TRUE(has(error("a.csv", "text;id\na;1\n", {.field = "text"}), "--delimiter ';'"));
  EXPECT_TRUE(
      has(error("a.csv", "text\tid\na\t1\n"), "give --delimiter '\\t' if that divides the columns, or --delimiter ',' if it is one"));
  EXPECT_TRUE(has(error("a.tsv", "text,id\na,1\n"), "give --delimiter ','"));
}

TEST_F(SourceTest, CsvProblemsNameTheLine) {
  EXPECT_TRUE(has(error("a.csv", "text,b\n1,2\n1,2,3\n"),
                  "a.csv:3: has 3 columns, the first line has 2; a field that has the delimiter in it must be quoted"));
  EXPECT_TRUE(has(error("a.csv", "text,b\n\"open,2\n1\n"), "a.csv:2: a quote is not closed"));
  EXPECT_TRUE(has(error("a.csv", "text,b\n\"x\"y,2\n"), "a.csv:2: text behind the closing quote"));
  EXPECT_TRUE(has(error("a.csv", "a,b\n1,2\n"), "has no column \"text\"; it has a, b"));
  EXPECT_TRUE(has(error("a.csv", "a,b\n1,2\n", {.field = "c"}), "has no column \"c\""));
  EXPECT_TRUE(has(error("a.csv", "a,b\n1,2\n", {.field = "3"}), "there is no column 3"));
  EXPECT_TRUE(has(error("a.csv", "a,b\n1,2\n", {.field = "0"}), "has no column \"0\""));
  EXPECT_TRUE(has(error("a.csv", "text,text\n1,2\n"), "two columns text"));
  EXPECT_TRUE(has(error("a.csv", "text,b\n1\n"), "a.csv:2: has 1 column, the first line has 2"));
  EXPECT_TRUE(has(error("a.csv", "text,b\n1,\xe9\n"), "a.csv:2: is not UTF-8 from byte 0 on"));
  EXPECT_TRUE(has(error("a.csv", "text,caf\xe9\n1,2\n", {.skip_bad = true}), "a.csv:1: is not UTF-8 from byte 3 on"));
  EXPECT_TRUE(has(error("a.csv", "text,b\n\"x\ny\"z,2\n"), "a.csv:3: text behind the closing quote of a field that begins in line 2"));
  EXPECT_TRUE(has(error("a.csv", ""), "is empty"));
  EXPECT_TRUE(has(error("a.csv", "1,2\n", {.field = "x", .header = false}), "by its number"));
  EXPECT_TRUE(has(error("a.csv", "1,2\n", {.header = false}), "which one"));
  EXPECT_TRUE(has(error("a.csv", "1,2\n", {.field = "3", .header = false}), "no column 3"));
  EXPECT_TRUE(has(error("a.csv", "text\n\"" + std::string(5000, '\n'), {.max_record_bytes = 1000}),
                  "a.csv:2: a quote is not closed within 1000 bytes"));
}

TEST_F(SourceTest, Tsv) {
  EXPECT_EQ(read("a.tsv", "id\ttext\n1\t\"Stop,\" he said.\n2\t\"a \"\"b\"\"\tc\"\n3\t\"open\n4\ta\"b\n"),
            (Texts{"\"Stop,\" he said.", "a \"b\"\tc", "\"open", "a\"b"}));
  EXPECT_TRUE(has(error("a.tsv", "id\ttext\n1\ta\tb\n"), "a.tsv:2: has 3 columns"));
}

// What a source read with skip_bad, and the numbers of its records.
struct Skipped {
  Texts texts;
  std::vector<uint64_t> records;
  uint64_t skipped = 0;
  std::string first;
};

Skipped read_good(const std::filesystem::path& path, SourceOptions options = {}) {
  options.skip_bad = true;
  auto source = open_source(path, options);
  Skipped got;
  for (std::string text; source->next(text);) {
    got.texts.push_back(text);
    got.records.push_back(source->position().record - 1);
  }
  got.skipped = source->skipped();
  got.first = source->first_skipped();
  return got;
}

TEST_F(SourceTest, BadRecordsArePassedOverAndCounted) {
  const Skipped text = read_good(scratch.put("a.txt", std::string("one\ncaf\xe9\nt\0o\nfour\n", 17)));
  EXPECT_EQ(text.texts, (Texts{"one", "four"}));
  EXPECT_EQ(text.records, (std::vector<uint64_t>{0, 3}));
  EXPECT_EQ(text.skipped, 2u);
  EXPECT_TRUE(has(text.first, "a.txt:2: is not UTF-8"));

  const Skipped json = read_good(scratch.put(
      "a.jsonl",
      "{\"text\":\"a \\ud83d\"}\n{\"text\":\"two\"}\n\n{\"text\":\"x\",\"n\":NaN}\n{\"text\":null}\n{}\n5\n{\"text\":\"seven\"}"));
  EXPECT_EQ(json.texts, (Texts{"two", "seven"}));
  EXPECT_EQ(json.records, (std::vector<uint64_t>{1, 6}));
  EXPECT_EQ(json.skipped, 5u);

  const Skipped csv = read_good(scratch.put("a.csv", "text,id\nshort\none,1\nlong,1,2\n\"two\nlines\",2\n\"x\"y,3\nfour,4\n"));
  EXPECT_EQ(csv.texts, (Texts{"one", "two\nlines", "four"}));
  EXPECT_EQ(csv.records, (std::vector<uint64_t>{1, 3, 5}));
  EXPECT_EQ(csv.skipped, 3u);
  EXPECT_TRUE(has(csv.first, "a.csv:2: has 1 column"));

  const Skipped wide = read_good(scratch.put("a.txt", "one\n" + std::string(3 << 20, 'x') + "\nthree\n"), {.max_record_bytes = 1000});
  EXPECT_EQ(wide.texts, (Texts{"one", "three"}));
}

// Only its first line is passed over: the lines after it may be rows.
TEST_F(SourceTest, AnOpenQuoteDoesNotTakeTheRowsBehindIt) {
  const Skipped got = read_good(scratch.put("a.csv", "text,id\r\n\"never closed,1\r\nthe fox,2\r\nold stone,3"));
  EXPECT_EQ(got.texts, (Texts{"the fox", "old stone"}));
  EXPECT_EQ(got.skipped, 1u);
  EXPECT_TRUE(has(got.first, "a.csv:2: a quote is not closed until the end"));
  std::string many = "text,id\n\"open,1\n";
  Texts want;
  for (int i = 0; i < 300000; ++i) {
    many += "row number " + std::to_string(i) + ",2\n";
    want.push_back("row number " + std::to_string(i));
  }
  EXPECT_EQ(read_good(scratch.put("a.csv", many)).texts, want);
  EXPECT_EQ(read_good(scratch.put("a.csv", many), {.max_record_bytes = 100000}).texts, want);
}

TEST_F(SourceTest, GoesOnBehindABadRecordWithoutSkipping) {
  auto source = open_source(scratch.put("a.jsonl", "{}\n{\"text\":\"two\"}\n"));
  std::string text;
  EXPECT_THROW(source->next(text), BadRecord);
  EXPECT_TRUE(source->next(text));
  EXPECT_EQ(text, "two");
}

TEST_F(SourceTest, KeepsFields) {
  const auto kept = [](const std::filesystem::path& path, const SourceOptions& options) {
    auto source = open_source(path, options);
    std::string text, all;
    while (source->next(text)) all += io::to_json(source->kept()) + "\n";
    return all;
  };
  scratch.put("a.jsonl", "{\"id\":7,\"text\":\"a\",\"d\":{\"x\":[1,null]}}\n{\"text\":\"b\",\"d\":{\"x\":0.5},\"id\":\"q\"}\n");
  EXPECT_EQ(kept(scratch / "a.jsonl", {.keep = {"id", "d.x"}}), "{\"id\":7,\"d.x\":[1,null]}\n{\"id\":\"q\",\"d.x\":0.5}\n");
  scratch.put("a.csv", "id,text,2\n007,a,x\n8,b,y\n");
  EXPECT_EQ(kept(scratch / "a.csv", {.keep = {"id", "text", "2"}}),
            "{\"id\":\"007\",\"text\":\"a\",\"2\":\"x\"}\n{\"id\":\"8\",\"text\":\"b\",\"2\":\"y\"}\n");
  EXPECT_TRUE(has(error("a.jsonl", "{\"text\":\"a\"}\n", {.keep = {"id"}}), "a.jsonl:1: has no field \"id\" to keep"));
  EXPECT_TRUE(has(error("a.csv", "text,a\nx,1\n", {.keep = {"id"}}), "has no column \"id\""));
  EXPECT_TRUE(has(error("a.csv", "id,text,id\n1,x,1\n", {.keep = {"id"}}), "two columns id"));
  EXPECT_TRUE(has(error("a.txt", "x\n", {.keep = {"id"}}), "is read as text"));
}

TEST_F(SourceTest, CompressedInput) {
  const auto path = scratch / "a.jsonl.gz";
  gzFile file = gzopen(path.c_str(), "wb");
  gzputs(file, "{\"text\":\"one\"}\n{\"text\":\"two\"}\n");
  gzclose(file);
  EXPECT_EQ(all_of(path), (Texts{"one", "two"}));
  for (const size_t bytes : {size_t{12}, content_of(path).size() - 9, content_of(path).size() - 1}) {
    const auto part = scratch.put("part.jsonl.gz", content_of(path).substr(0, bytes));
    EXPECT_TRUE(has(error_of([&] { all_of(part, {.skip_bad = true}); }), "part.jsonl.gz: its gzip data is truncated")) << bytes;
  }
}

// Resuming after any record gives the same texts as one pass.
TEST_F(SourceTest, GoesOnFromAnyPosition) {
  const std::vector<std::pair<std::string, std::string>> inputs = {
      {"a.txt", "\xEF\xBB\xBFone\r\n\ntwo\nthree"},
      {"a.jsonl", "{\"text\":\"one\"}\n\n\n{\"text\":\"two\"}\n{\"text\":\"three\"}"},
      {"a.csv", "id,text\n1,\"o\nne\"\n\n2,two\n3,three\n"},
      {"a.tsv", "id\ttext\n1\tone\n2\ttwo\n"},
      {"b.txt", "one\rtwo\r\nthree\r"},
      {"b.csv", "id,text\r1,\"o\rne\"\r\n2,two\r"},
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
