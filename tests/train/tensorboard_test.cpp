// The bytes of event files; tests/parity/test_tensorboard.py reads them with TensorBoard itself.
#include "m2bert/train/tensorboard.h"

#include <cstring>
#include <filesystem>

#include "tests/support/scratch.h"
#include "tiny_run.h"

namespace m2bert::train {
namespace {

using test::Scratch;

// Values of RFC 3720, appendix B.4, masked as TensorFlow does.
TEST(TensorBoard, Crc32c) {
  auto masked = [](uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8; };
  EXPECT_EQ(masked_crc32c(std::string(32, '\0')), masked(0x8a9136aa));
  EXPECT_EQ(masked_crc32c(std::string(32, '\xff')), masked(0x62a8ab43));
  EXPECT_EQ(masked_crc32c("123456789"), masked(0xe3069283));
}

TEST(TensorBoard, FramesEachEvent) {
  const Scratch scratch;
  {
    TensorBoard board(scratch / "tb", 7);
    Record record{{8, 0, 64, 2048}, {}};
    record.add("loss/train/total", 5.5);
    board.write(record);
    board.sync();
  }
  const auto file = std::filesystem::directory_iterator(scratch / "tb")->path();
  EXPECT_TRUE(file.filename().string().starts_with("events.out.tfevents."));
  const std::string bytes = bytes_of(file);
  std::vector<std::string> events;
  for (size_t at = 0; at < bytes.size();) {
    uint64_t length = 0;
    uint32_t check = 0;
    std::memcpy(&length, bytes.data() + at, 8);
    std::memcpy(&check, bytes.data() + at + 8, 4);
    EXPECT_EQ(check, masked_crc32c(std::string_view(bytes).substr(at, 8)));
    events.push_back(bytes.substr(at + 12, length));
    std::memcpy(&check, bytes.data() + at + 12 + length, 4);
    EXPECT_EQ(check, masked_crc32c(events.back()));
    at += 16 + length;
  }
  ASSERT_EQ(events.size(), 3U);
  EXPECT_NE(events[0].find("brain.Event:2"), std::string::npos);
  EXPECT_NE(events[2].find("loss/train/total"), std::string::npos);
}

}  // namespace
}  // namespace m2bert::train
