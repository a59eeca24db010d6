#include "m2bert/checkpoint/zip_index.h"
#include "m2bert/checkpoint/zip_writer.h"

#include <gtest/gtest.h>

#include "m2bert/error.h"
#include "tests/checkpoint/bytes.h"

namespace m2bert::checkpoint::test {
namespace {

TEST(Crc32, AgreesWithKnownValuesAndContinues) {
  std::string digits = "123456789";
  EXPECT_EQ(crc32(0, digits.data(), digits.size()), 0xcbf43926u);
  EXPECT_EQ(crc32(0, nullptr, 0), 0u);
  std::string longer(1000, '\0');
  for (size_t i = 0; i < longer.size(); ++i) longer[i] = static_cast<char>(i * 7);
  uint32_t whole = crc32(0, longer.data(), longer.size());
  for (size_t cut : {1, 15, 16, 17, 500, 999})
    EXPECT_EQ(crc32(crc32(0, longer.data(), cut), longer.data() + cut, longer.size() - cut), whole) << cut;
}

TEST(ZipIndex, FindsStoredEntries) {
  auto file = zip({{"b", "second"}, {"a/c", ""}, {"a/d", "x"}}, {.comment = "a comment"});
  auto entries = read_zip_index(bytes_of(file), "t.zip");
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(file.substr(entries[0].offset, entries[0].size), "second");
  EXPECT_EQ(file.substr(entries[2].offset, entries[2].size), "x");
}

// The same archive with 32-bit numbers, and with every number in zip64 fields.
TEST(ZipWriter, WritesWhatTheIndexReads) {
  for (uint64_t zip64_from : {uint64_t{0xffffffff}, uint64_t{1}}) {
    Folder folder;
    {
      io::AtomicFile out(folder / "t.zip");
      ZipWriter writer(out, zip64_from);
      writer.add("archive/data.pkl", std::string_view("hello"));
      writer.add("archive/data/0", std::string_view(""));
      writer.add("archive/data/1", std::string_view("some bytes"));
      writer.finish();
      out.commit();
    }
    auto file = io::read_file(folder / "t.zip");
    auto entries = read_zip_index(bytes_of(file), "t.zip");
    ASSERT_EQ(entries.size(), 3u) << zip64_from;
    EXPECT_EQ(file.substr(entries[0].offset, entries[0].size), "hello");
    for (const auto& e : entries) {
      EXPECT_EQ(e.offset % 64, 0u) << e.name;
      EXPECT_EQ(e.crc, crc32(0, file.data() + e.offset, e.size));
    }
  }
}

}  // namespace
}  // namespace m2bert::checkpoint::test
