#include "m2bert/data/shard_split.h"

#include <gtest/gtest.h>

#include <cmath>

#include "m2bert/data/mds_check.h"
#include "mds_case.h"

namespace m2bert::data {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::has;
using test::Scratch;

class ShardSplitTest : public ::testing::Test {
 protected:
  ShardSplitTest() {
    test::write_texts(scratch / "raw", test::numbered_texts(400), {.hashes = {"sha1"}, .size_limit = 1000});
    shards = test::write_texts(scratch / "d", test::numbered_texts(400), {.compression = "zstd", .hashes = {"sha1"}, .size_limit = 1000})
                 .shards.size();
    options.folder = scratch / "d";
    options.out = scratch / "out";
  }
  std::string error() {
    return error_of([&] { split_shards(options); });
  }
  MdsReport checked(const fs::path& folder) {
    return check_mds(MdsStream({.local = folder.string(), .keep_raw = false}), [](uint64_t) {});
  }

  Scratch scratch;
  size_t shards = 0;
  ShardSplitOptions options;
};

TEST_F(ShardSplitTest, TheLastShardsAreForValidation) {
  for (const double fraction : {0.3, 0.0005, 0.99, 1e-9}) {
    options.val_fraction = fraction;
    options.overwrite = true;
    const auto train = static_cast<size_t>(std::floor((1 - fraction) * static_cast<double>(shards)));
    if (train == 0) {
      EXPECT_TRUE(has(error(), "0 would train"));
      continue;
    }
    const ShardSplitResult result = split_shards(options);
    EXPECT_EQ(result.shards, train);
    EXPECT_EQ(result.val_shards, shards - train);
    EXPECT_EQ(result.samples + result.val_samples, 400u);
    const MdsIndex val = read_mds_index(scratch / "out/val/index.json");
    EXPECT_EQ(val.shards.front().raw.name, read_mds_index(scratch / "d/index.json").shards[train].raw.name);
    for (const char* name : {"train", "val"}) {
      const MdsReport report = checked(scratch / "out" / name);
      EXPECT_EQ(report.problem_count, 0u);
      EXPECT_EQ(report.packed_here, report.shards);
      EXPECT_EQ(report.samples_checked, report.samples);
    }
  }
}

TEST_F(ShardSplitTest, ByNumberAndByLinks) {
  options.folder = scratch / "raw";
  options.val_shards = 2;
  options.link = true;
  const ShardSplitResult result = split_shards(options);
  EXPECT_EQ(result.val_shards, 2u);
  EXPECT_EQ(fs::hard_link_count(scratch / "out/train/shard.00000.mds"), 2u);
  EXPECT_EQ(checked(scratch / "out/val").problem_count, 0u);
}

TEST_F(ShardSplitTest, Problems) {
  EXPECT_TRUE(has(error(), "say how much is for validation"));
  options.val_fraction = 0.5;
  options.val_shards = 1;
  EXPECT_TRUE(has(error(), "say how much"));
  options.val_fraction = 0;
  options.val_shards = 1000;
  EXPECT_TRUE(has(error(), "both need at least one"));
  options.val_shards = 1;
  fs::remove(scratch / "d/shard.00001.mds.zstd");
  EXPECT_TRUE(has(error(), "shard.00001.mds: no such file; its index lists it"));
  test::overwrite(scratch / "d/shard.00001.mds.zstd", "short");
  EXPECT_TRUE(has(error(), "shard.00001.mds.zstd: has 5 bytes, its index says"));
  EXPECT_FALSE(fs::exists(options.out));
  options.out = scratch / "d";
  EXPECT_TRUE(has(error(), "d/train: would be written into the data set that is divided"));
  options.folder = scratch / "d/";
  EXPECT_TRUE(has(error(), "d/train: would be written into the data set that is divided"));
  options.out = scratch.folder();
  options.split = "d";
  options.overwrite = true;
  EXPECT_TRUE(has(error(), "d: would be written into the data set that is divided"));
  EXPECT_TRUE(fs::exists(scratch / "d/index.json"));
  options.folder = scratch.folder();
  EXPECT_TRUE(has(error(), "index.json: no such file; name one data set: "));
  EXPECT_TRUE(has(error(), "/d or "));
  options.folder = scratch / "none";
  EXPECT_TRUE(has(error(), "index.json: no such file"));
}

}  // namespace
}  // namespace m2bert::data
