#include "m2bert/data/mds_stream.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "mds_case.h"

namespace m2bert::data {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::has;
using test::Scratch;

class MdsStreamTest : public ::testing::Test {
 protected:
  MdsStreamTest() {
    test::write_texts(scratch / "raw/train", texts, {.hashes = {"sha1", "xxh64"}, .size_limit = 1000});
    test::write_texts(scratch / "packed/train", texts, {.compression = "zstd", .hashes = {"sha1"}, .size_limit = 1000});
  }
  static std::vector<std::string> all_texts(const MdsStream& stream) {
    std::vector<std::string> out;
    for (size_t i = 0; i < stream.index().shards.size(); ++i) {
      const auto shard = stream.open(i);
      for (uint64_t sample = 0; sample < shard->samples(); ++sample) out.emplace_back(shard->field(sample, 0));
      stream.release(i);
    }
    return out;
  }
  std::string at(const std::string& name) const { return (scratch / name).string(); }
  bool is_there(const std::string& name) const { return fs::exists(scratch / name); }
  std::string open_error(const MdsStreamConfig& config) {
    return error_of([&] { all_texts(MdsStream(config)); });
  }

  std::vector<std::string> texts = test::numbered_texts(100);
  Scratch scratch;
};

TEST_F(MdsStreamTest, AFolder) {
  EXPECT_EQ(all_texts(MdsStream({.local = at("raw"), .split = "train", .validate_hash = "xxh64"})), texts);
  EXPECT_EQ(all_texts(MdsStream({.local = at("raw/train")})), texts);
  EXPECT_EQ(all_texts(MdsStream({.remote = at("raw"), .split = "train"})), texts);
  EXPECT_EQ(all_texts(MdsStream({.remote = "file://" + at("raw/train/")})), texts);
  EXPECT_EQ(all_texts(MdsStream({.remote = at("raw"), .local = at("raw/../raw"), .split = "train"})), texts);
}

TEST_F(MdsStreamTest, UnpackedShardsAreKeptOrNot) {
  EXPECT_EQ(all_texts(MdsStream({.local = at("packed"), .split = "train", .validate_hash = "sha1", .keep_raw = false})), texts);
  EXPECT_FALSE(is_there("packed/train/shard.00000.mds"));
  EXPECT_EQ(all_texts(MdsStream({.local = at("packed"), .split = "train", .validate_hash = "sha1"})), texts);
  EXPECT_TRUE(is_there("packed/train/shard.00000.mds"));
  EXPECT_TRUE(is_there("packed/train/shard.00000.mds.zstd"));  // the only copy
  EXPECT_FALSE(is_there("packed/train/shard.00000.mds.lock"));
  EXPECT_EQ(all_texts(MdsStream({.local = at("packed"), .split = "train"})), texts);
}

TEST_F(MdsStreamTest, ACopyOfAFolderElsewhere) {
  EXPECT_EQ(all_texts(MdsStream({.remote = at("packed"), .local = at("copy"), .split = "train", .validate_hash = "sha1"})), texts);
  EXPECT_TRUE(is_there("copy/train/index.json"));
  EXPECT_TRUE(is_there("copy/train/shard.00000.mds"));
  EXPECT_FALSE(is_there("copy/train/shard.00000.mds.zstd"));
  fs::rename(scratch / "packed", scratch / "gone");
  EXPECT_EQ(all_texts(MdsStream({.remote = at("packed"), .local = at("copy"), .split = "train"})), texts);
}

TEST_F(MdsStreamTest, WhatIsKeptOfACopy) {
  EXPECT_EQ(all_texts(MdsStream({.remote = at("packed"), .local = at("zip"), .split = "train", .keep_zip = true, .keep_raw = false})),
            texts);
  EXPECT_TRUE(is_there("zip/train/shard.00000.mds.zstd"));
  EXPECT_FALSE(is_there("zip/train/shard.00000.mds"));
  EXPECT_EQ(all_texts(MdsStream({.remote = at("raw"), .local = at("none"), .split = "train", .keep_raw = false})), texts);
  EXPECT_FALSE(is_there("none/train/shard.00000.mds"));
}

TEST_F(MdsStreamTest, AFolderThatCannotBeWritten) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  ::chmod((scratch / "packed/train").c_str(), 0555);
  EXPECT_EQ(all_texts(MdsStream({.local = at("packed"), .split = "train"})), texts);
  ::chmod((scratch / "packed/train").c_str(), 0755);
  EXPECT_FALSE(is_there("packed/train/shard.00000.mds"));
}

TEST_F(MdsStreamTest, ManyThreadsMakeAShardOnce) {
  const MdsStream stream({.remote = at("packed"), .local = at("copy"), .split = "train"});
  std::vector<std::thread> threads;
  std::vector<std::vector<std::string>> found(4);
  for (size_t i = 0; i < found.size(); ++i) threads.emplace_back([&, i] { found[i] = all_texts(stream); });
  for (std::thread& thread : threads) thread.join();
  for (const auto& each : found) EXPECT_EQ(each, texts);
}

TEST_F(MdsStreamTest, PlacesThatAreNotThere) {
  EXPECT_TRUE(has(open_error({}), "needs a folder"));
  EXPECT_TRUE(has(open_error({.local = at("none"), .split = "train"}), "none: no such folder"));
  EXPECT_TRUE(has(open_error({.local = at("raw"), .split = "val"}), "raw/val: has no index.json"));
  EXPECT_TRUE(has(open_error({.local = at("raw"), .split = "val"}), "there is one in these folders of " + at("raw") + ": train"));
  EXPECT_TRUE(has(open_error({.local = at("raw"), .split = "../packed/train"}), "leads out of its folder"));
  EXPECT_TRUE(has(open_error({.remote = at("none"), .local = at("copy")}), "no such file"));
  EXPECT_TRUE(has(open_error({.remote = "s3://bucket/data"}), "s3://bucket/data: data is read from folders and from http"));
  EXPECT_TRUE(has(open_error({.local = at("raw"), .split = "train", .validate_hash = "sha"}), "no hash 'sha'"));
}

TEST(MdsStream, WhatCannotBeReadIsNotCalledMissing) {
  const Scratch scratch;
  std::filesystem::create_symlink("index.json", scratch / "index.json");  // a loop, which root cannot read either
  const std::string text = error_of([&] { MdsStream stream({.local = scratch.folder().string()}); });
  EXPECT_PRED2(has, text, "index.json: cannot be read: Too many levels of symbolic links");
}

TEST_F(MdsStreamTest, DamagedShards) {
  const auto damage = [&](const std::string& name, auto change) {
    std::string content = test::content_of(scratch / name);
    change(content);
    test::overwrite(scratch / name, content);
  };
  damage("raw/train/shard.00001.mds", [](std::string& content) { content.back() ^= 1; });
  EXPECT_TRUE(has(open_error({.local = at("raw"), .split = "train", .validate_hash = "sha1"}), "shard.00001.mds: is damaged: its sha1"));
  EXPECT_TRUE(has(open_error({.local = at("raw"), .split = "train", .validate_hash = "md5"}),
                  "has no md5 of it (validate_hash); it has sha1, xxh64"));
  damage("raw/train/shard.00001.mds", [](std::string& content) { content.resize(content.size() / 2); });
  EXPECT_TRUE(has(open_error({.local = at("raw"), .split = "train"}), "shard.00001.mds: has "));
  fs::remove(scratch / "raw/train/shard.00001.mds");
  EXPECT_TRUE(has(open_error({.local = at("raw"), .split = "train"}), "shard.00001.mds: no such file; its index lists it"));
  damage("packed/train/shard.00002.mds.zstd", [](std::string& content) { content.resize(content.size() / 2); });
  EXPECT_TRUE(has(open_error({.local = at("packed"), .split = "train"}), "shard.00002.mds.zstd: has "));
  EXPECT_FALSE(is_there("packed/train/shard.00002.mds"));
}

// The sizes match the index, but the content is damaged: decompression finds it.
TEST_F(MdsStreamTest, AnIndexThatLies) {
  std::string index = test::content_of(scratch / "packed/train/index.json");
  const uint64_t bytes = MdsStream({.local = at("packed"), .split = "train"}).index().shards[0].raw.bytes;
  const std::string before = "\"shard.00000.mds\", \"bytes\": " + std::to_string(bytes);
  for (const uint64_t lie : {bytes - 1, bytes + 1, uint64_t{0xffffffff}}) {
    std::string changed = index;
    changed.replace(changed.find(before), before.size(), "\"shard.00000.mds\", \"bytes\": " + std::to_string(lie));
    test::overwrite(scratch / "packed/train/index.json", changed);
    EXPECT_TRUE(has(open_error({.local = at("packed"), .split = "train"}), "shard.00000.mds.zstd: unpacks to")) << lie;
  }
  std::string changed = index;
  while (changed.find("\"zstd\"") != std::string::npos) changed.replace(changed.find("\"zstd\""), 6, "\"lz4\"");
  test::overwrite(scratch / "packed/train/index.json", changed);
  EXPECT_TRUE(has(open_error({.local = at("packed"), .split = "train"}), "is packed by 'lz4', which is not known here"));
}

// A damaged copy is fetched again.
TEST_F(MdsStreamTest, ADamagedCopyIsMadeAnew) {
  const MdsStreamConfig config{.remote = at("raw"), .local = at("copy"), .split = "train", .validate_hash = "sha1"};
  EXPECT_EQ(all_texts(MdsStream(config)), texts);
  std::string content = test::content_of(scratch / "copy/train/shard.00001.mds");
  test::overwrite(scratch / "copy/train/shard.00000.mds", "short");
  content.back() ^= 1;
  test::overwrite(scratch / "copy/train/shard.00001.mds", content);
  EXPECT_TRUE(has(open_error(config), "shard.00001.mds: is damaged"));
  EXPECT_EQ(all_texts(MdsStream(config)), texts);
}

}  // namespace
}  // namespace m2bert::data
