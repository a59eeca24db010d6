#include "m2bert/data/shard_pool.h"

#include <gtest/gtest.h>

#include <thread>

#include "mds_case.h"

namespace m2bert::data {
namespace {

using test::error_of;
using test::has;
using test::Scratch;

class ShardPoolTest : public ::testing::Test {
 protected:
  ShardPoolTest() {
    for (const char* name : {"a", "b"}) {
      test::write_texts(scratch / name, test::numbered_texts(60), {.compression = "zstd", .size_limit = 1000});
      streams->emplace_back(
          MdsStreamConfig{.remote = (scratch / name).string(), .local = (scratch / "copy").string() + name, .keep_raw = false});
    }
    first_of_b = static_cast<uint32_t>(streams->at(0).index().shards.size());
  }
  bool copied(const std::string& file) const { return std::filesystem::exists(scratch / file); }
  Scratch scratch;
  std::shared_ptr<std::vector<MdsStream>> streams = std::make_shared<std::vector<MdsStream>>();
  uint32_t first_of_b = 0;
};

TEST_F(ShardPoolTest, CountsShardsOverAllStreams) {
  ShardPool pool(streams, 2);
  EXPECT_EQ(pool.get(0)->info().raw.name, "shard.00000.mds");
  EXPECT_TRUE(has(pool.get(first_of_b)->name(), "copyb"));
  EXPECT_TRUE(has(error_of([&] { pool.get(1000); }), "there is no shard 1000"));
}

TEST_F(ShardPoolTest, AcquiredShardsAreOpenedOnceAndKept) {
  ShardPool pool(streams, 2);
  pool.acquire({0, 1});
  pool.acquire({1});
  const auto shard = pool.get(1);
  EXPECT_EQ(pool.get(1), shard);
  pool.release({0, 1});
  EXPECT_EQ(pool.get(1), shard);
  pool.release({1});
  EXPECT_NE(pool.get(1), shard);
  EXPECT_GT(shard->samples(), 0u);  // the owner of a pointer may still read
}

TEST_F(ShardPoolTest, AcquiredShardsAreOpenedAhead) {
  streams->clear();
  streams->emplace_back(MdsStreamConfig{.remote = (scratch / "a").string(), .local = (scratch / "kept").string()});
  ShardPool pool(streams, 1);
  pool.acquire({1});
  for (int i = 0; i < 5000 && !copied("kept/shard.00001.mds"); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  EXPECT_TRUE(copied("kept/shard.00001.mds"));
  EXPECT_FALSE(copied("kept/shard.00000.mds"));
}

TEST_F(ShardPoolTest, EveryCallRethrowsTheError) {
  std::filesystem::remove(scratch / "a" / "shard.00001.mds.zstd");
  ShardPool pool(streams, 1);
  pool.acquire({1});
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(has(error_of([&] { pool.get(1); }), "shard.00001.mds.zstd: no such file"));
  EXPECT_GT(pool.get(2)->samples(), 0u);
}

TEST_F(ShardPoolTest, ManyThreads) {
  ShardPool pool(streams, 2);
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (uint32_t i = 0; i < 40; ++i) {
        const uint32_t shard = (t + i) % (2 * first_of_b);
        pool.acquire({shard});
        EXPECT_GT(pool.get(shard)->samples(), 0u);
        pool.release({shard});
      }
    });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace m2bert::data
