#include "m2bert/data/text_row.h"

#include <gtest/gtest.h>

#include "m2bert/data/mds_stream.h"
#include "mds_case.h"

namespace m2bert::data {
namespace {

using Ids = std::vector<int32_t>;
using test::error_of;
using test::has;
using test::Scratch;

template <class T>
std::string stored(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

class TextRowTest : public ::testing::Test {
 protected:
  TextRow read(const std::vector<MdsColumn>& columns, const std::vector<MdsValue>& values, size_t length = 8, bool given_labels = false) {
    const auto folder = scratch / std::to_string(count++);
    MdsWriter writer(folder, {.columns = columns});
    writer.write(values);
    writer.finish();
    const MdsStream stream({.local = folder.string()});
    const TextRowReader reader(tokenize::WordPiece::builtin(), length, given_labels);
    reader.check(stream.index().shards[0], "data");
    return reader.read(*stream.open(0), 0);
  }
  std::string error(const std::vector<MdsColumn>& columns, const std::vector<MdsValue>& values, bool given_labels = false) {
    return error_of([&] { read(columns, values, 8, given_labels); });
  }
  Scratch scratch;
  int count = 0;
};

TEST_F(TextRowTest, TextIsTokenizedAndCut) {
  EXPECT_EQ(read({{"text", "str", {}}}, {std::string("hello world")}).ids, (Ids{101, 7592, 2088, 102}));
  EXPECT_EQ(read({{"text", "bytes", {}}}, {std::string("hello world")}, 3).ids, (Ids{101, 7592, 102}));
  EXPECT_EQ(read({{"text", "str", {}}}, {std::string()}).ids, (Ids{101, 102}));
  EXPECT_FALSE(read({{"text", "str", {}}}, {std::string()}).from_tokens);
}

TEST_F(TextRowTest, TokensOfEveryType) {
  EXPECT_EQ(read({{"tokens", "bytes", {}}}, {stored<int64_t>({101, 7592, 102})}).ids, (Ids{101, 7592, 102}));
  EXPECT_EQ(read({{"tokens", "bytes", {}}}, {stored<int64_t>({101, 7592, 102})}, 3).ids.size(), 3u);
  EXPECT_EQ(read({{"tokens", "ndarray:uint16", {}}}, {MdsArray{MdsType::uint16, {3}, stored<uint16_t>({101, 30000, 102})}}).ids,
            (Ids{101, 30000, 102}));
  EXPECT_EQ(read({{"tokens", "ndarray", {}}}, {MdsArray{MdsType::int32, {2}, stored<int32_t>({101, 102})}}).ids, (Ids{101, 102}));
  EXPECT_TRUE(read({{"tokens", "bytes", {}}}, {std::string()}).ids.empty());
}

TEST_F(TextRowTest, LabelsOfTheData) {
  const auto row = read({{"tokens", "bytes", {}}, {"labels", "bytes", {}}},
                        {stored<int64_t>({-100, 7592, -100}), stored<int64_t>({101, 103, 102})}, 8, true);
  EXPECT_EQ(row.ids, (Ids{101, 103, 102}));
  EXPECT_EQ(row.labels, (Ids{-100, 7592, -100}));
}

TEST_F(TextRowTest, Problems) {
  EXPECT_TRUE(has(error({{"txt", "str", {}}}, {std::string("a")}), "data: wants a column text or tokens; it has txt"));
  EXPECT_TRUE(has(error({{"text", "int", {}}}, {int64_t{1}}), "data: its column text has the encoding int"));
  EXPECT_TRUE(has(error({{"tokens", "str", {}}}, {std::string("a")}), "data: its column tokens has the encoding str"));
  EXPECT_TRUE(has(error({{"text", "bytes", {}}}, {std::string("\xff")}), "sample 0, column text: is not UTF-8"));
  EXPECT_TRUE(has(error({{"tokens", "bytes", {}}}, {std::string("1234567")}), "sample 0, column tokens: 7 bytes are no int64"));
  EXPECT_TRUE(
      has(error({{"tokens", "bytes", {}}}, {stored<int64_t>({30522})}), "holds an id that the vocabulary of 30522 tokens has not: 30522"));
  EXPECT_TRUE(has(error({{"tokens", "bytes", {}}}, {stored<int64_t>({-1})}), "has not: -1"));
  EXPECT_TRUE(has(error({{"tokens", "bytes", {}}}, {stored<int64_t>({int64_t{1} << 40})}), "has not"));
  EXPECT_TRUE(has(error({{"tokens", "ndarray", {}}}, {MdsArray{MdsType::float32, {1}, "abcd"}}), "wants whole numbers"));
  EXPECT_TRUE(has(error({{"tokens", "bytes", {}}}, {std::string()}, true), "wants columns tokens and labels"));
  const std::vector<MdsColumn> both = {{"tokens", "bytes", {}}, {"labels", "bytes", {}}};
  EXPECT_TRUE(has(error(both, {stored<int64_t>({1}), stored<int64_t>({1, 2})}, true), "1 labels for 2 tokens"));
  EXPECT_TRUE(has(error(both, {stored<int64_t>({-5}), stored<int64_t>({1})}, true), "neither -100 nor a token"));
  EXPECT_TRUE(has(error_of([] { TextRowReader(tokenize::WordPiece::builtin(), 2, false); }), "max_seq_len 2"));
}

}  // namespace
}  // namespace m2bert::data
