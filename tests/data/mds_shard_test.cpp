#include "m2bert/data/mds_shard.h"

#include <cstring>
#include <random>

#include "mds_case.h"

namespace m2bert::data {
namespace {

using test::error_of;
using test::has;
using test::Scratch;

class MdsShardTest : public ::testing::Test {
 protected:
  MdsShardTest() {
    MdsFormat format;
    format.columns = {{"text", "str", {}}, {"n", "int", {}}, {"blob", "bytes", {}}};
    MdsWriter writer(scratch / "d", format);
    for (int i = 0; i < 20; ++i) writer.write({std::string(static_cast<size_t>(i), 'b'), int64_t{i}, "text " + std::to_string(i)});
    info = writer.finish().shards.at(0);
    content = test::content_of(scratch / "d" / info.raw.name);
  }
  std::string error(std::string bytes) {
    MdsShardInfo described = info;
    described.raw.bytes = bytes.size();
    return error_of([&] { read_all({described, std::move(bytes), "shard"}); });
  }
  static size_t read_all(const MdsShard& shard) {
    size_t bytes = 0;
    for (uint64_t i = 0; i < shard.samples(); ++i)
      for (size_t column = 0; column < shard.info().columns.size(); ++column) bytes += shard.field(i, column).size();
    return bytes;
  }
  void put(size_t offset, uint32_t value, std::string& bytes) const { std::memcpy(bytes.data() + offset, &value, sizeof value); }

  Scratch scratch;
  MdsShardInfo info;
  std::string content;
};

TEST_F(MdsShardTest, GivesEverySampleByColumn) {
  const MdsShard shard(info, io::MappedFile(scratch / "d" / info.raw.name));
  ASSERT_EQ(shard.samples(), 20u);
  for (uint64_t i = 0; i < 20; ++i) {
    EXPECT_EQ(std::get<std::string>(shard.value(i, shard.info().column("text"))), "text " + std::to_string(i));
    EXPECT_EQ(std::get<int64_t>(shard.value(i, shard.info().column("n"))), static_cast<int64_t>(i));
    EXPECT_EQ(shard.field(i, shard.info().column("blob")), std::string(i, 'b'));
  }
  EXPECT_TRUE(has(error_of([&] { (void)shard.field(20, 0); }), "there is no sample 20"));
  EXPECT_TRUE(has(error_of([&] { (void)shard.field(0, 3); }), "has no column 3"));
}

TEST_F(MdsShardTest, ACutFileIsAnError) {
  for (size_t size = 0; size < content.size(); ++size) EXPECT_TRUE(has(error(content.substr(0, size)), "shard")) << size;
  EXPECT_TRUE(has(error_of([&] { MdsShard(info, content + "x", "shard"); }), "its index says"));
}

TEST_F(MdsShardTest, LyingNumbersAreErrors) {
  const auto changed = [&](size_t offset, uint32_t value) {
    std::string bytes = content;
    put(offset, value, bytes);
    return error(bytes);
  };
  for (const uint32_t samples : {0u, 19u, 21u, 0xffffffffu}) EXPECT_TRUE(has(changed(0, samples), "samples, its index says 20"));
  for (const uint32_t offset : {0u, 3u, 0xffffffffu, 0x80000000u}) {
    EXPECT_TRUE(has(changed(4, offset), "the offset of sample 0"));
    EXPECT_TRUE(has(changed(8, offset), "the offset of sample 1"));
    EXPECT_NE(changed(4 + 4 * 20, offset), "");
  }
  uint32_t first;
  std::memcpy(&first, content.data() + 4, sizeof first);
  for (const uint32_t size : {1u, 100u, 0xffffffffu, 0xfffffffeu}) EXPECT_TRUE(has(changed(first, size), "sample 0, column")) << size;
}

TEST_F(MdsShardTest, ASampleShorterThanItsSizesIsAnError) {
  MdsShardInfo tiny = info;
  tiny.columns = {{"a", "str", {}}, {"b", "str", {}}};
  tiny.samples = 1;
  std::string bytes(12 + 5, '\0');
  put(0, 1, bytes);
  put(4, 12, bytes);
  put(8, 17, bytes);
  tiny.raw.bytes = bytes.size();
  const MdsShard shard(tiny, bytes, "shard");
  EXPECT_TRUE(has(error_of([&] { (void)shard.field(0, 0); }), "ends before its sizes do"));
}

// Any bytes give an error, or fields inside the bytes (checked by AddressSanitizer).
TEST_F(MdsShardTest, FlippedBitsDoNoHarm) {
  std::mt19937 random(1);
  MdsShardInfo described = info;
  for (int i = 0; i < 3000; ++i) {
    std::string bytes = content;
    for (int flips = 0; flips <= i % 3; ++flips) bytes[random() % bytes.size()] ^= static_cast<char>(1 << (random() % 8));
    try {
      EXPECT_LE(read_all({described, std::move(bytes), "shard"}), content.size());
    } catch (const Error& e) {
      EXPECT_TRUE(has(e.what(), "shard"));
    }
  }
}

}  // namespace
}  // namespace m2bert::data
