#include "m2bert/data/mds_writer.h"

#include <gtest/gtest.h>

#include "m2bert/data/mds_stream.h"
#include "m2bert/io/checksum.h"
#include "mds_case.h"

namespace m2bert::data {
namespace {

using test::error_of;
using test::has;
using test::Scratch;

MdsFormat formatted(MdsFormat format) {
  if (format.columns.empty()) format.columns = {{"text", "str", {}}};
  return mds_format(format);
}

TEST(MdsFormat, IsPutInOrder) {
  const MdsFormat format = mds_format({.columns = {{"z", "int", {}}, {"a", "str", {}}}, .hashes = {"xxh64", "sha1", "xxh64"}});
  EXPECT_EQ(format.columns[0].name, "a");
  EXPECT_EQ(format.columns[1].size, 8u);
  EXPECT_EQ(format.hashes, (std::vector<std::string>{"sha1", "xxh64"}));
}

TEST(MdsFormat, Problems) {
  EXPECT_TRUE(has(error_of([] { mds_format({}); }), "at least one column"));
  EXPECT_TRUE(has(error_of([] { mds_format({.columns = {{"a", "str", {}}, {"a", "int", {}}}}); }), "two columns a"));
  EXPECT_TRUE(has(error_of([] { mds_format({.columns = {{"a", "pkl", {}}}}); }), "column a: holds Python objects"));
  EXPECT_TRUE(has(error_of([] { formatted({.compression = "zip"}); }), "unknown compression \"zip\""));
  EXPECT_TRUE(has(error_of([] { formatted({.hashes = {"crc"}}); }), "unknown hash \"crc\"; there are blake2b"));
  EXPECT_TRUE(has(error_of([] { formatted({.size_limit = 0}); }), "size limit"));
  EXPECT_TRUE(has(error_of([] { formatted({.size_limit = uint64_t{1} << 32}); }), "32 bits"));
}

TEST(MdsWriter, FillsShardsUpToTheLimit) {
  const Scratch scratch;
  const MdsIndex index = test::write_texts(scratch / "d", test::numbered_texts(200), {.hashes = {"sha1"}, .size_limit = 1000});
  EXPECT_GT(index.shards.size(), 5u);
  for (const MdsShardInfo& shard : index.shards) {
    EXPECT_LE(shard.raw.bytes, 1000u);
    EXPECT_EQ(shard.raw.hashes.at("sha1"), io::checksum("sha1", test::content_of(scratch / "d" / shard.raw.name)));
  }
  EXPECT_EQ(index.samples(), 200u);
  EXPECT_EQ(scratch.files(), 1u);
}

TEST(MdsWriter, ALargeSampleHasAShardForItself) {
  const Scratch scratch;
  const MdsIndex index = test::write_texts(scratch / "d", {"a", std::string(5000, 'x'), "b"}, {.size_limit = 1000});
  ASSERT_EQ(index.shards.size(), 3u);
  EXPECT_EQ(index.shards[1].samples, 1u);
  const MdsStream stream({.local = (scratch / "d").string()});
  EXPECT_EQ(stream.open(1)->field(0, 0).size(), 5000u);
}

TEST(MdsWriter, DoesNotMixIntoAnotherDataSet) {
  const Scratch scratch;
  test::write_texts(scratch / "d", {"a"});
  EXPECT_TRUE(has(error_of([&] { test::write_texts(scratch / "d", {"b"}); }), "index.json: is there already"));
}

TEST(MdsWriter, ValuesThatDoNotFitNameTheColumn) {
  const MdsFormat format = formatted({});
  EXPECT_TRUE(has(error_of([&] { encode_mds_sample(format, {int64_t{1}}, "sample 7"); }), "sample 7, column text: wants text"));
  EXPECT_TRUE(has(error_of([&] { encode_mds_sample(format, {}, "sample 7"); }), "0 values for 1 columns"));
}

}  // namespace
}  // namespace m2bert::data
