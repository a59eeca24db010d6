#include "m2bert/data/text_head.h"

#include <gtest/gtest.h>

#include "m2bert/data/bad_record.h"
#include "m2bert/data/documents.h"
#include "tests/support/scratch.h"

namespace m2bert::data {
namespace {

using namespace std::string_view_literals;
using test::error_of;
using test::has;

std::string error(std::string_view head) {
  return error_of([&] { check_text_head(head, "f"); });
}

TEST(TextHead, AUtf8MarkIsDropped) {
  EXPECT_EQ(check_text_head("\xEF\xBB\xBF"
                            "one",
                            "f"),
            3u);
  EXPECT_EQ(check_text_head("one", "f"), 0u);
  EXPECT_EQ(check_text_head("", "f"), 0u);
}

TEST(TextHead, OtherEncodingsAreNamedWithTheRemedy) {
  EXPECT_EQ(error("\xFF\xFE"
                  "a\0b\0"sv),
            "f: is UTF-16; convert it to UTF-8 first (iconv -f UTF-16 -t UTF-8)");
  EXPECT_TRUE(has(error("\xFE\xFF\0a"sv), "is UTF-16;"));
  EXPECT_TRUE(has(error("\xFF\xFE\0\0a\0\0\0"sv), "is UTF-32;"));
  EXPECT_TRUE(has(error("\0\0\xFE\xFF\0\0\0a"sv), "is UTF-32;"));
  EXPECT_TRUE(has(error("t\0e\0x\0t\0"sv), "is UTF-16LE; convert it to UTF-8 first (iconv -f UTF-16LE"));
  EXPECT_TRUE(has(error("\0t\0e\0x\0t"sv), "is UTF-16BE;"));
}

TEST(TextHead, BinaryFilesAreNamed) {
  const std::vector<std::pair<std::string_view, const char*>> files = {
      {"\x93NUMPY\x01\0v\0{'descr': '<f4'"sv, "a NumPy array"},
      {"\x40\0\0\0\0\0\0\0{\"w\":{\"dtype\":\"F32\""sv, "a safetensors file"},
      {"PK\x03\x04\x14\0\0\0"sv, "a zip archive"},
      {"\x89PNG\r\n\x1a\n"sv, "a PNG image"},
      {"\xFF\xD8\xFF\xE0\0\x10JFIF"sv, "a JPEG image"},
      {"\x7F"
       "ELF\x02\x01\x01\0"sv,
       "a program or library (ELF)"},
      {"PAR1\x15\x04\x15\x10"sv, "a Parquet file"},
      {"%PDF-1.7\n%\xE2\xE3\xCF\xD3\n"sv, "a PDF document"},
      {"\x80\x02\x8a\nl\xfc\x9c"sv, "a Python pickle"},
      {"\x1F\x8B\x08\0"sv, "compressed a second time"},
      {"BZh91AY&SY\x01\x02"sv, "bzip2 data; decompress it first"},
      {"\xFD"
       "7zXZ\0\0"sv,
       "xz data"},
      {"\x03\0\0\0\x14\0\0\0\x1f\0\0\0"sv, "binary data"},
  };
  for (const auto& [head, kind] : files) {
    EXPECT_TRUE(has(error(head), "f: is no text; it looks like ")) << kind;
    EXPECT_TRUE(has(error(head), kind));
  }
  std::string tar(512, '\0');
  tar.replace(0, 5, "a.txt").replace(257, 5, "ustar");
  EXPECT_TRUE(has(error(tar), "a tar archive"));
}

TEST(TextHead, TextsThatBeginLikeBinaryFilesAreTexts) {
  for (const std::string_view text : {"MZ is the signature of programs"sv, "PAR1 begins a Parquet file"sv, "GIF89a"sv, "BZh is a prefix"sv,
                                      "RIFF"sv, "caf\xe9"sv, "a\tb\x1b[1mbold"sv, "one \0 zero in a long enough line"sv})
    EXPECT_EQ(check_text_head(text, "f"), 0u) << text;
}

TEST(TextHead, WholeFilesAreCheckedToo) {
  const test::Scratch scratch;
  scratch.put("a.txt", "\xEF\xBB\xBFone\r\ntwo");
  scratch.put("b.txt", "\x93NUMPY\x01");
  scratch.put("c.txt", "caf\xe9");
  scratch.put("d.txt", "last");
  const auto read = [&](bool skip_bad) {
    Documents documents(input_files({scratch.folder().string()}), {.source = {.skip_bad = skip_bad}, .whole_files = true});
    std::string all;
    for (std::string text; documents.next(text);) all += text + "|";
    return all + std::to_string(documents.skipped()) + documents.first_skipped();
  };
  EXPECT_TRUE(has(error_of([&] { read(false); }), "b.txt: is no text; it looks like a NumPy array"));
  EXPECT_TRUE(has(read(true), "one\r\ntwo|last|2"));
  EXPECT_TRUE(has(read(true), "b.txt: is no text"));
}

}  // namespace
}  // namespace m2bert::data
