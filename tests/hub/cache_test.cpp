#include "m2bert/hub/cache.h"

#include <gtest/gtest.h>

#include "m2bert/hub/snapshot.h"
#include "m2bert/io/file.h"
#include "tests/support/scratch.h"

namespace m2bert::hub::test {
namespace {

namespace fs = std::filesystem;
using m2bert::test::error_of;
using m2bert::test::has;
using m2bert::test::Scratch;

const std::string commit(40, 'c'), etag(40, 'e');

TEST(Cache, HasTheLayoutOfHuggingfaceHub) {
  const Scratch scratch;
  const fs::path root = scratch / "a cache";
  const Cache cache(root, "org/name");
  EXPECT_EQ(cache.folder(), root / "models--org--name");
  EXPECT_EQ(Cache(root, "bare").folder(), root / "models--bare");
  EXPECT_EQ(cache.blob(etag), cache.folder() / "blobs" / etag);
  EXPECT_EQ(cache.lock(etag), root / ".locks/models--org--name" / (etag + ".lock"));
  EXPECT_TRUE(fs::is_directory(root / ".locks/models--org--name"));
  io::write_file(cache.blob(etag), "content");
  cache.link(commit, "1_Pooling/config.json", etag);
  EXPECT_EQ(fs::read_symlink(cache.snapshot(commit) / "1_Pooling/config.json"), "../../../blobs/" + etag);
  EXPECT_EQ(io::read_file(cache.snapshot(commit) / "1_Pooling/config.json"), "content");
  const auto blob = cache.find(commit, "1_Pooling/config.json");
  ASSERT_TRUE(blob);
  EXPECT_EQ(blob->etag, etag);
  EXPECT_EQ(blob->size, 7u);
}

TEST(Cache, PlainFilesOfASnapshotCount) {
  const Scratch scratch;
  const Cache cache(scratch.folder(), "org/name");
  io::write_file(cache.blob(etag), "content");
  cache.link(commit, "config.json", etag);
  fs::create_directories(cache.snapshot(commit) / "1_Pooling");
  io::write_file(cache.snapshot(commit) / "1_Pooling/config.json", "{}");  // copied, as onto a file system without links
  fs::create_symlink("nowhere", cache.snapshot(commit) / "dangling");
  const Snapshot found = cached_snapshot({"org/name", "main"}, cache, commit);
  ASSERT_EQ(found.files.size(), 2u);
  EXPECT_EQ(found.files[0].name, "1_Pooling/config.json");
  EXPECT_EQ(found.files[0].size, 2u);
  EXPECT_EQ(found.files[0].etag, "");
  EXPECT_EQ(found.files[1].etag, etag);
}

TEST(Cache, KeepsTheCommitOfARevision) {
  const Scratch scratch;
  const Cache cache(scratch.folder(), "org/name");
  EXPECT_EQ(cache.commit_of("main"), std::nullopt);
  EXPECT_EQ(cache.commit_of(commit), commit);
  cache.write_ref("refs/pr/1", commit);
  EXPECT_EQ(io::read_file(cache.folder() / "refs/refs/pr/1"), commit);
  EXPECT_EQ(cache.commit_of("refs/pr/1"), commit);
  cache.write_ref(commit, commit);
  EXPECT_FALSE(fs::exists(cache.folder() / "refs" / commit));
  io::write_file(cache.folder() / "refs/refs/pr/1", "../../../etc");
  EXPECT_EQ(cache.commit_of("refs/pr/1"), std::nullopt);
}

TEST(Cache, RefusesNamesThatLeadOut) {
  const Scratch scratch;
  const Cache cache(scratch / "cache", "org/name");
  for (const char* name : {"../x", "/x", "a/../../x", "a\\b", ""}) {
    EXPECT_NE(error_of([&] { cache.link(commit, name, etag); }), "") << name;
    EXPECT_EQ(cache.find(commit, name), std::nullopt) << name;
  }
  for (const char* bad : {"../x", "/a", "..", ""}) {
    EXPECT_NE(error_of([&] { (void)cache.blob(bad); }), "") << bad;
    EXPECT_NE(error_of([&] { (void)cache.lock(bad); }), "") << bad;
    EXPECT_NE(error_of([&] { cache.write_ref(bad, commit); }), "") << bad;
    EXPECT_NE(error_of([&] { cache.link(bad, "config.json", etag); }), "") << bad;
  }
  EXPECT_EQ(scratch.files(), 1u);  // the cache and nothing beside it
}

TEST(Cache, DoesNotFollowLinks) {
  const Scratch scratch;
  const Cache cache(scratch / "cache", "org/name");
  fs::create_directories(cache.folder() / "snapshots");
  fs::create_directory(scratch / "outside");
  fs::create_directory_symlink(scratch / "outside", cache.snapshot(commit));
  EXPECT_TRUE(has(error_of([&] { cache.link(commit, "config.json", etag); }), "is not a folder"));
  fs::create_directory_symlink(scratch / "outside", cache.folder() / "blobs");
  EXPECT_TRUE(has(error_of([&] { (void)cache.blob(etag); }), "is not a folder"));
  EXPECT_TRUE(fs::is_empty(scratch / "outside"));
}

TEST(Cache, FindsOnlyLinksToBlobs) {
  const Scratch scratch;
  const Cache cache(scratch / "cache", "org/name");
  const fs::path outside = scratch.put("outside", "secret");
  fs::create_directories(cache.snapshot(commit));
  fs::create_symlink(outside, cache.snapshot(commit) / "a");
  fs::create_symlink("../../blobs/" + etag, cache.snapshot(commit) / "b");  // dangling
  EXPECT_EQ(cache.find(commit, "a"), std::nullopt);
  EXPECT_EQ(cache.find(commit, "b"), std::nullopt);
  io::write_file(cache.blob(etag), "content");
  cache.link(commit, "a", etag);
  EXPECT_TRUE(cache.find(commit, "a"));
  EXPECT_EQ(io::read_file(outside), "secret");
}

}  // namespace
}  // namespace m2bert::hub::test
