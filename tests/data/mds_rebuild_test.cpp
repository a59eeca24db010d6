#include "m2bert/data/mds_rebuild.h"

#include <gtest/gtest.h>

#include "m2bert/data/mds_stream.h"
#include "mds_case.h"

namespace m2bert::data {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::has;
using test::numbered_texts;
using test::Scratch;
using test::write_texts;

std::string index_of(const fs::path& folder) { return test::content_of(folder / kMdsIndex); }

TEST(MdsRebuild, GivesTheIndexThatTheWriterWrote) {
  const Scratch scratch;
  for (const char* compression : {"", "zstd:3", "gz", "bz2", "br", "snappy"}) {
    const fs::path folder = scratch / (std::string("d") + compression);
    write_texts(folder, numbered_texts(60), {.compression = compression, .hashes = {"sha1", "xxh64"}, .size_limit = 500});
    EXPECT_EQ(mds_index_text(rebuild_mds_index(folder)), index_of(folder)) << compression;
  }
}

TEST(MdsRebuild, UnpackedShardsCountToo) {
  const Scratch scratch;
  const MdsIndex index = write_texts(scratch / "d", numbered_texts(60), {.compression = "zstd", .size_limit = 500});
  {
    const MdsStream stream({.local = (scratch / "d").string()});
    for (size_t i = 0; i < index.shards.size(); ++i) (void)stream.open(i);  // unpacks them beside the compressed files
  }
  EXPECT_EQ(mds_index_text(rebuild_mds_index(scratch / "d")), index_of(scratch / "d"));
  for (const MdsShardInfo& shard : index.shards) fs::remove(scratch / "d" / shard.packed->name);
  const MdsIndex raw = rebuild_mds_index(scratch / "d");
  ASSERT_EQ(raw.shards.size(), index.shards.size());
  EXPECT_EQ(raw.samples(), 60u);
  EXPECT_FALSE(raw.shards[0].packed);
  EXPECT_EQ(raw.shards[0].raw.name, "shard.00000.mds");
}

TEST(MdsRebuild, NamesWhatIsMissingOrDamaged) {
  const Scratch scratch;
  const fs::path folder = scratch / "d";
  const auto error = [&] { return error_of([&] { (void)rebuild_mds_index(folder); }); };
  EXPECT_PRED2(has, error(), "d: cannot be read: No such file or directory");
  fs::create_directories(folder);
  EXPECT_PRED2(has, error(), "d: has no shards");
  const MdsIndex index = write_texts(folder, numbered_texts(60), {.size_limit = 500});
  ASSERT_GT(index.shards.size(), 3u);
  const std::string content = test::content_of(folder / "shard.00001.mds");
  test::overwrite(folder / "shard.00001.mds", content.substr(0, content.size() / 2));
  EXPECT_PRED2(has, error(), "shard.00001.mds");
  test::overwrite(folder / "shard.00001.mds", "tiny");
  EXPECT_PRED2(has, error(), "shard.00001.mds: is too short");
  fs::remove(folder / "shard.00001.mds");
  EXPECT_PRED2(has, error(), "shard 1 is missing, but there is shard.00002.mds");
}

}  // namespace
}  // namespace m2bert::data
