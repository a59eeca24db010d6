#include "m2bert/data/parquet_values.h"

#include <gtest/gtest.h>

#include "tests/support/scratch.h"

namespace m2bert::data {
namespace {

using test::error_of;
using test::has;
using namespace std::string_view_literals;

std::vector<uint32_t> runs(std::string_view bytes, int width, int count) {
  ParquetRuns reader(bytes, width, "page");
  std::vector<uint32_t> out;
  for (int i = 0; i < count; ++i) out.push_back(reader.next());
  return out;
}

// The example of the format's documentation: 0 to 7 in three bits each.
TEST(ParquetValues, BitPackedRuns) {
  EXPECT_EQ(runs("\x03\x88\xC6\xFA"sv, 3, 8), (std::vector<uint32_t>{0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(runs("\x06\x05\x02\x07"sv, 3, 4), (std::vector<uint32_t>{5, 5, 5, 7}));
  EXPECT_EQ(runs("\x08"sv, 0, 4), (std::vector<uint32_t>{0, 0, 0, 0}));
  EXPECT_TRUE(has(error_of([] { runs("\x06\x05"sv, 3, 4); }), "page: its values end early"));
  EXPECT_TRUE(has(error_of([] { runs("\x06"sv, 3, 1); }), "page: its values end early"));
  EXPECT_TRUE(has(error_of([] { runs("\x06"sv, 33, 1); }), "page: has integers of 33 bits"));
}

int64_t nth_delta(std::string_view bytes, int n) {
  const auto values = parquet_values(5, ParquetType::int64, bytes, nullptr, "page");
  int64_t value = 0;
  for (int i = 0; i <= n; ++i) value = values->next().integer;
  return value;
}

// 1 to 5: blocks of 128 in 4 parts, 5 values, the first is 1; all differences are 1.
TEST(ParquetValues, Deltas) {
  const std::string bytes = std::string("\x80\x01\x04\x05\x02\x02", 6) + std::string(4, '\0');
  for (int i = 0; i < 5; ++i) EXPECT_EQ(nth_delta(bytes, i), i + 1);
  EXPECT_TRUE(has(error_of([&] { nth_delta(bytes, 5); }), "its values end early"));
  EXPECT_TRUE(has(error_of([&] { nth_delta("\x80\x01\x00\x05\x02"sv, 0); }), "blocks of 128 values in 0 parts"));
  EXPECT_TRUE(has(error_of([&] { nth_delta("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80"sv, 0); }), "too long"));
  EXPECT_TRUE(has(error_of([&] { nth_delta("\x80\x01\x04\x05\x02\x02\x41\0\0\0"sv, 1); }), "its differences have 65 bits"));
}

TEST(ParquetValues, UnknownEncodings) {
  EXPECT_TRUE(
      has(error_of([] { parquet_values(4, ParquetType::int32, "", nullptr, "page"); }), "page: has the encoding 4, which is not read"));
  EXPECT_TRUE(has(error_of([] { parquet_values(5, ParquetType::bytes, "", nullptr, "page"); }), "page: has the encoding 5"));
  EXPECT_TRUE(has(error_of([] { parquet_values(8, ParquetType::bytes, "\x01", nullptr, "page"); }), "but there is none before it"));
  const std::vector<ParquetValue> dictionary(2);
  EXPECT_TRUE(has(error_of([&] { parquet_values(8, ParquetType::bytes, "\x02\x02\x03"sv, &dictionary, "page")->next(); }),
                  "has value 3 of a dictionary of 2"));
}

}  // namespace
}  // namespace m2bert::data
