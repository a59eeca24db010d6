#include "m2bert/data/documents.h"

#include <gtest/gtest.h>

#include "mds_case.h"

namespace m2bert::data {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::has;
using test::Scratch;
using Texts = std::vector<std::string>;

class DocumentsTest : public ::testing::Test {
 protected:
  DocumentsTest() {
    scratch.put("a.txt", "one\n\ntwo\n");
    scratch.put("b.jsonl", "{\"text\":\"three\"}\n{\"text\":\"four\"}\n");
    scratch.put("c.txt", "");
    scratch.put("d.txt", "five");
    for (const char* name : {"a.txt", "b.jsonl", "c.txt", "d.txt"}) inputs.push_back(scratch / name);
  }
  static Texts rest(Documents& documents) {
    Texts texts;
    for (std::string text; documents.next(text);) texts.push_back(text);
    return texts;
  }
  Scratch scratch;
  std::vector<fs::path> inputs;
};

TEST_F(DocumentsTest, AllInputsOneAfterAnother) {
  Documents documents(inputs, {});
  EXPECT_EQ(rest(documents), (Texts{"one", "", "two", "three", "four", "five"}));
  EXPECT_EQ(documents.fraction(), 1.0);
}

TEST_F(DocumentsTest, WholeFiles) {
  Documents documents({inputs[0], inputs[2]}, {.whole_files = true});
  EXPECT_EQ(rest(documents), (Texts{"one\n\ntwo\n", ""}));
  EXPECT_EQ(documents.where(), inputs[2].string());
  Documents small({inputs[0]}, {.source = {.max_record_bytes = 3}, .whole_files = true});
  EXPECT_TRUE(has(error_of([&] { rest(small); }), "a.txt: is longer than 3 bytes"));
}

TEST_F(DocumentsTest, GoOnFromAnyPosition) {
  for (const bool whole_files : {false, true}) {
    Documents all(inputs, {.whole_files = whole_files});
    const Texts texts = rest(all);
    for (size_t cut = 0; cut <= texts.size(); ++cut) {
      Documents first(inputs, {.whole_files = whole_files});
      std::string text;
      for (size_t i = 0; i < cut; ++i) ASSERT_TRUE(first.next(text));
      Documents second(inputs, {.whole_files = whole_files});
      second.skip_to(first.position());
      EXPECT_EQ(rest(second), Texts(texts.begin() + static_cast<std::ptrdiff_t>(cut), texts.end())) << cut;
    }
  }
}

TEST_F(DocumentsTest, SayWhereTheyAre) {
  Documents documents(inputs, {});
  std::string text;
  for (int i = 0; i < 3; ++i) documents.next(text);
  EXPECT_EQ(documents.where(), inputs[0].string() + ":3");
  EXPECT_LT(documents.fraction().value(), 0.5);
}

TEST_F(DocumentsTest, FoldersStandForTheirFiles) {
  fs::create_directories(scratch / "x/sub");
  fs::create_directories(scratch / "x/.hidden");
  for (const char* name : {"x/b.txt", "x/a.txt", "x/sub/c.txt", "x/.d.txt", "x/.hidden/e.txt"}) scratch.put(name, "x");
  const auto files = input_files({(scratch / "x").string(), inputs[0].string(), "-"});
  EXPECT_EQ(files, (std::vector<fs::path>{scratch / "x/a.txt", scratch / "x/b.txt", scratch / "x/sub/c.txt", inputs[0], "-"}));
  EXPECT_TRUE(has(error_of([&] { input_files({(scratch / "none").string()}); }), "none: no such file or folder"));
  EXPECT_TRUE(has(error_of([&] { input_files({(scratch / "x/.hidden").string() + "/../.hidden/none"}); }), "no such file"));
  fs::create_directories(scratch / "empty");
  EXPECT_TRUE(has(error_of([&] { input_files({(scratch / "empty").string()}); }), "empty: has no files"));
}

}  // namespace
}  // namespace m2bert::data
