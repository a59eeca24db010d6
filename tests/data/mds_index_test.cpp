#include "m2bert/data/mds_index.h"

#include <gtest/gtest.h>

#include "m2bert/io/json.h"
#include "tests/support/scratch.h"

namespace m2bert::data {
namespace {

using test::error_of;
using test::has;

// As the Python package writes it.
const std::string good =
    R"({"shards": [{"column_encodings": ["int", "str"], "column_names": ["n", "text"], "column_sizes": [8, null], "compression": "zstd", )"
    R"("format": "mds", "hashes": ["sha1"], "raw_data": {"basename": "shard.00000.mds", "bytes": 309, "hashes": {"sha1": "ae5d"}}, )"
    R"("samples": 5, "size_limit": 67108864, "version": 2, "zip_data": {"basename": "shard.00000.mds.zstd", "bytes": 213, )"
    R"("hashes": {"sha1": "e3c4"}}}], "version": 2})";

std::string with(const std::string& part, const std::string& instead) {
  std::string text = good;
  const size_t at = text.find(part);
  EXPECT_NE(at, std::string::npos) << part;
  return text.replace(at, part.size(), instead);
}

TEST(MdsIndex, ReadsAndWritesWhatThePackageWrites) {
  const MdsIndex index = parse_mds_index(good, "index.json");
  ASSERT_EQ(index.shards.size(), 1u);
  const MdsShardInfo& shard = index.shards[0];
  EXPECT_EQ(shard.columns[0].size, 8u);
  EXPECT_EQ(shard.columns[1].encoding, "str");
  EXPECT_EQ(shard.column("text"), 1u);
  EXPECT_EQ(shard.raw.bytes, 309u);
  EXPECT_EQ(shard.packed->hashes.at("sha1"), "e3c4");
  EXPECT_EQ(index.samples(), 5u);
  EXPECT_EQ(mds_index_text(index), good);
  EXPECT_TRUE(has(error_of([&] { (void)shard.column("tokens"); }), "has no column 'tokens'; it has n, text"));
}

TEST(MdsIndex, ReadsIndexesOfOtherVersionsWithoutSomeFields) {
  EXPECT_EQ(parse_mds_index(with("\"size_limit\": 67108864, ", ""), "i").shards[0].size_limit.kind(), io::Tree::Kind::null);
  EXPECT_EQ(parse_mds_index(with("\"size_limit\": 67108864", "\"size_limit\": \"64mb\""), "i").shards[0].size_limit.string(), "64mb");
  EXPECT_TRUE(parse_mds_index("{\"version\": 2, \"shards\": []}", "i").shards.empty());
  // Columns of unsupported encodings are allowed.
  EXPECT_EQ(parse_mds_index(with("[\"int\", \"str\"]", "[\"pkl\", \"str\"]"), "i").shards[0].columns[0].encoding, "pkl");
}

TEST(MdsIndex, ProblemsNameFileAndField) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "i"},
      {"[]", "is no index"},
      {"{}", "is no index"},
      {"{\"version\": 1, \"shards\": []}", "only version 2"},
      {"{\"version\": 2, \"shards\": 5}", "shards"},
      {"{\"version\": 2, \"shards\": [5]}", "shards[0]"},
      {"{\"version\": 2, \"shards\": [{}]}", "version"},
      {good.substr(0, 300), "i"},
      {with("\"format\": \"mds\"", "\"format\": \"csv\""), "'csv' are not read"},
      {with("\"samples\": 5", "\"samples\": -5"), "samples"},
      {with("\"samples\": 5", "\"samples\": 76"), "76 samples do not fit in 309 bytes"},
      {with("\"samples\": 5", "\"samples\": 9223372036854775807"), "do not fit"},
      {with("\"bytes\": 309", "\"bytes\": 4"), "do not fit"},
      {with("\"bytes\": 309", "\"bytes\": 99999999999"), "less than 4 GiB"},
      {with("\"bytes\": 309", "\"bytes\": 1e30"), "bytes"},
      {with("shard.00000.mds\"", "../shard.00000.mds\""), "leads out of its folder"},
      {with("shard.00000.mds\"", "/etc/passwd\""), "is an absolute path"},
      {with("shard.00000.mds\"", "\""), "is empty"},
      {with("shard.00000.mds.zstd", "a/../../b"), "leads out of its folder"},
      {with("shard.00000.mds.zstd", "shard.00000.mds"), "same name"},
      {with("[8, null]", "[8]"), "column_sizes"},
      {with("[8, null]", "[4, null]"), "column n has the encoding int, whose values take 8 bytes"},
      {with("[8, null]", "[8, 5]"), "no fixed number of bytes"},
      {with("[8, null]", "[null, null]"), "column n"},
      {with("[8, null]", "[8, -1]"), "column_sizes"},
      {with("[\"n\", \"text\"]", "[\"n\", \"n\"]"), "two columns 'n'"},
      {with("\"compression\": \"zstd\"", "\"compression\": null"), "belong together"},
      {with("\"version\": 2, \"zip", "\"version\": 3, \"zip"), "only version 2"},
      {with("\"samples\": 5", "\"samples\": 5, \"extra\": 1"), "extra: this key of a shard is not known"},
      {with("\"sha1\": \"ae5d\"", "\"sha1\": 5"), "sha1"},
  };
  for (const auto& [text, part] : cases) {
    const std::string error = error_of([&, &text = text] { parse_mds_index(text, "i"); });
    EXPECT_TRUE(has(error, part)) << text;
    EXPECT_TRUE(has(error, "i")) << text;
  }
}

TEST(MdsIndex, TwoShardsOfOneNameAreAnError) {
  const std::string begin = "{\"shards\": [", end = "], \"version\": 2}";
  const std::string shard = good.substr(begin.size(), good.size() - begin.size() - end.size());
  const std::string twice = begin + shard + ", " + shard + end;
  EXPECT_TRUE(has(error_of([&] { parse_mds_index(twice, "i"); }), "two shards have the name 'shard.00000.mds'"));
}

}  // namespace
}  // namespace m2bert::data
