#include "m2bert/data/parquet.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "m2bert/data/labelled.h"
#include "m2bert/data/source.h"
#include "m2bert/io/file.h"
#include "tests/support/paths.h"
#include "tests/support/scratch.h"

namespace m2bert::data {
namespace {

using io::Tree;
using test::error_of;
using test::has;
using test::Scratch;

// The files that tests/parity/generate_parquet.py writes: the same 60 rows in each.
const std::vector<std::string> kNames = {"plain", "dictionary", "pages2", "delta", "delta1"};
constexpr int kRows = 60;

std::filesystem::path golden(const std::string& name) { return test::source_dir() / "tests/golden/parquet" / (name + ".parquet"); }

Tree tags(int i) {
  if (i % 7 == 0) return {};
  if (i % 5 == 0) return Tree::list();
  return Tree::list({i % 4 == 0 ? Tree() : Tree("tag" + std::to_string(i % 3)), Tree("é" + std::to_string(i))});
}

// What row i of the files holds.
Tree row(int i) {
  Tree row = Tree::map();
  row.set("text", "text " + std::to_string(i % 10) + " 蝶 " + std::string(static_cast<size_t>(i % 4), 'x'));
  row.set("other", i % 3 == 0 ? Tree() : Tree("prefix " + std::to_string(i / 8) + " " + std::to_string(i)));
  row.set("label", i % 2 == 0 ? i * i : -i * i);
  row.set("small", i % 4 == 0 ? Tree() : Tree(i % 5 - 2));
  row.set("big", int64_t{4294967295} - i);
  row.set("score", i / 8.0);
  row.set("weight", i % 9 == 0 ? Tree() : Tree(i / 16.0));
  row.set("flag", i % 11 == 0 ? Tree() : Tree(i % 3 == 0));
  row.set("tags", tags(i));
  row.set("ids", Tree::list(std::vector<Tree>(static_cast<size_t>(i % 3), i)));
  row.set("none", Tree());
  return row;
}

// Reads all columns; the number of values.
size_t read_all(std::string_view bytes) {
  const ParquetFile file(bytes, "file");
  size_t values = 0;
  for (size_t column = 0; column < file.columns().size(); ++column) {
    ParquetColumnReader reader(file, column);
    for (uint64_t i = 0; i < std::min<uint64_t>(file.rows(), 1000); ++i, ++values) reader.next();
  }
  return values;
}

TEST(Parquet, ReadsWhatPyarrowWrites) {
  for (const std::string& name : kNames) {
    SCOPED_TRACE(name);
    const auto source = open_source(golden(name), {.records = true});
    std::string none;
    for (int i = 0; i < kRows; ++i) {
      ASSERT_TRUE(source->next(none));
      EXPECT_EQ(source->kept(), row(i)) << io::Tree(i).shown();
    }
    EXPECT_FALSE(source->next(none));
  }
}

TEST(Parquet, IsASourceOfTexts) {
  const auto source = open_source(golden("dictionary"), {.keep = {"label"}});
  std::string text;
  ASSERT_TRUE(source->next(text) && source->next(text));
  EXPECT_EQ(text, "text 1 蝶 x");
  EXPECT_EQ(source->kept().at("label").integer(), -1);
  EXPECT_EQ(source->where(), golden("dictionary").string() + ": row 2");
  source->skip_to({.record = 58});
  ASSERT_TRUE(source->next(text) && source->next(text));
  EXPECT_EQ(source->kept().at("label").integer(), -59 * 59);
  EXPECT_FALSE(source->next(text));
  EXPECT_TRUE(has(error_of([] { open_source(golden("plain"), {.field = "body"}); }), "has no column \"body\"; it has text, other, label"));
  EXPECT_TRUE(has(error_of([] { open_source("-", {.format = Format::parquet}); }), "standard input: a Parquet file is read from its end"));
}

TEST(Parquet, NullsAreNoTexts) {
  std::string text;
  EXPECT_TRUE(
      has(error_of([&] { open_source(golden("plain"), {.field = "other"})->next(text); }), "plain.parquet: row 1: wants a text, got null"));
  const auto source = open_source(golden("plain"), {.field = "other", .skip_bad = true});
  size_t texts = 0;
  while (source->next(text)) ++texts;
  EXPECT_EQ(texts, 40u);
  EXPECT_EQ(source->skipped(), 20u);
}

TEST(Parquet, Labels) {
  const LabelledData data = read_labelled(golden("delta"), {.label = "score"});
  EXPECT_EQ(data.kind, LabelKind::number);
  EXPECT_EQ(data.values[3], 0.375f);
  EXPECT_TRUE(has(error_of([] { read_labelled(golden("plain"), {.label = "small"}); }), "plain.parquet: row 1: \"small\" holds no label"));
  EXPECT_EQ(read_labelled(golden("pages2"), {.label = "ids"}).kind, LabelKind::multi);
}

TEST(Parquet, TruncatedFilesAreRefused) {
  const std::string bytes = io::read_file(golden("dictionary"));
  EXPECT_EQ(read_all(bytes), size_t{11} * kRows);
  for (size_t size = 0; size < bytes.size(); size += 7)
    EXPECT_TRUE(has(error_of([&] { read_all(std::string_view(bytes).substr(0, size)); }), "file: is no Parquet file, or was truncated"));
}

// Whatever a byte becomes, the file is read to its end or refused.
TEST(Parquet, DamagedBytesGiveValuesOrAnError) {
  size_t refused = 0;
  for (const std::string& name : kNames) {
    std::string bytes = io::read_file(golden(name));
    for (size_t at = 0; at < bytes.size(); at += 5) {  // all of them take minutes under the sanitizers; tests/fuzz goes further
      const char before = bytes[at];
      for (const int change : {at % 2 == 0 ? 0x01 : 0x80, 0xFF}) {
        bytes[at] = static_cast<char>(before ^ change);
        try {
          read_all(bytes);
        } catch (const Error& e) {
          ++refused;
          EXPECT_TRUE(has(e.what(), "file: "));
        }
      }
      bytes[at] = before;
    }
  }
  EXPECT_GT(refused, 1000u);
}

TEST(Parquet, OtherFilesAreRefused) {
  EXPECT_TRUE(has(error_of([] { read_all("PAR1aaaaaaaaaaaaPARE"); }), "is encrypted"));
  EXPECT_TRUE(
      has(error_of([] { read_all(std::string("PAR1\xFF\xFF\xFF\x7FPAR1")); }), "its metadata has 2147483647 bytes, the file has 12"));
  EXPECT_TRUE(has(error_of([] { read_all(std::string("PAR1\0\1\0\0\0PAR1", 13)); }), "file: has no columns"));
  EXPECT_TRUE(has(error_of([] { read_all("text"); }), "is no Parquet file"));
  // Lists in lists in lists.
  const std::string deep = std::string("PAR1") + "\x79" + std::string(200, '\x19') + std::string("\xC9\0\0\0PAR1", 8);
  EXPECT_TRUE(has(error_of([&] { read_all(deep); }), "nested too deeply"));
}

}  // namespace
}  // namespace m2bert::data
