#include "m2bert/data/mds_check.h"

#include <gtest/gtest.h>

#include "mds_case.h"

namespace m2bert::data {
namespace {

namespace fs = std::filesystem;
using test::has;
using test::Scratch;

TEST(MdsCheck, AnIndexWithoutShardsIsAProblem) {
  const Scratch scratch;
  scratch.put("index.json", "{\"version\": 2, \"shards\": []}");
  const MdsReport report = check_mds(MdsStream({.local = scratch.folder().string()}), [](uint64_t) {});
  ASSERT_EQ(report.problem_count, 1u);
  EXPECT_PRED2(has, report.problems[0], "index.json: lists no shards");
}

TEST(MdsCheck, FindsWhatIsWrong) {
  const Scratch scratch;
  MdsFormat format{.columns = {{"text", "bytes", {}}, {"n", "int", {}}}, .hashes = {"sha1"}, .size_limit = 500};
  MdsWriter writer(scratch / "d", format);
  for (int64_t i = 0; i < 60; ++i) writer.write({i, "text " + std::to_string(i)});
  const MdsIndex index = writer.finish();
  const auto stream = [&] { return MdsStream({.local = (scratch / "d").string(), .validate_all = true}); };
  uint64_t last = 0;
  const MdsReport good = check_mds(stream(), [&](uint64_t done) { last = done; });
  EXPECT_EQ(good.problem_count, 0u);
  EXPECT_EQ(last, 60u);
  EXPECT_EQ(good.columns.at("n"), "int");
  EXPECT_EQ(good.raw_here, index.shards.size());
  std::string content = test::content_of(scratch / "d" / index.shards[0].raw.name);
  content.back() ^= 1;
  test::overwrite(scratch / "d" / index.shards[0].raw.name, content);
  test::overwrite(scratch / "d" / index.shards[1].raw.name, "short");
  fs::remove(scratch / "d" / index.shards[2].raw.name);
  EXPECT_EQ(describe_mds(stream()).problem_count, 2u);
  const MdsReport report = check_mds(stream(), [](uint64_t) {});
  std::string problems;
  for (const std::string& problem : report.problems) problems += problem + "\n";
  EXPECT_TRUE(has(problems, "shard.00000.mds: is damaged: its sha1"));
  EXPECT_TRUE(has(problems, "shard.00001.mds: has 5 bytes"));
  EXPECT_TRUE(has(problems, "shard.00002.mds: no such file"));
}

}  // namespace
}  // namespace m2bert::data
