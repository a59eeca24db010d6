#include "m2bert/train/tensorboard.h"

#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>
#include <cstring>

#include "m2bert/error.h"

namespace m2bert::train {

namespace {

// The part of Protocol Buffers that events need. Field numbers are those of tensorflow/core/util/event.proto and summary.proto.
void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

template <class T>
void put_fixed(std::string& out, T value) {
  for (size_t i = 0; i < sizeof value; ++i) out += static_cast<char>(value >> (8 * i));
}

void put_integer(std::string& out, int field, int64_t value) {
  put_varint(out, uint64_t(field) << 3);
  put_varint(out, static_cast<uint64_t>(value));
}

void put_double(std::string& out, int field, double value) {
  put_varint(out, uint64_t(field) << 3 | 1);
  put_fixed(out, std::bit_cast<uint64_t>(value));
}

void put_float(std::string& out, int field, float value) {
  put_varint(out, uint64_t(field) << 3 | 5);
  put_fixed(out, std::bit_cast<uint32_t>(value));
}

void put_bytes(std::string& out, int field, std::string_view bytes) {
  put_varint(out, uint64_t(field) << 3 | 2);
  put_varint(out, bytes.size());
  out += bytes;
}

// The beginning of every event.
std::string event_at(int64_t step) {
  std::string event;
  put_double(event, 1, std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count());
  put_integer(event, 2, step);
  return event;
}

std::string name_of_file() {
  char host[256] = "host";
  (void)::gethostname(host, sizeof host - 1);
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  return "events.out.tfevents." + std::to_string(seconds) + "." + host + "." + std::to_string(::getpid());
}

constexpr std::array<uint32_t, 256> crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c & 1) ? 0x82f63b78 ^ (c >> 1) : c >> 1;
    table[i] = c;
  }
  return table;
}

}  // namespace

uint32_t masked_crc32c(std::string_view bytes) {
  static constexpr auto table = crc_table();
  uint32_t crc = ~0U;
  for (const char byte : bytes) crc = table[(crc ^ static_cast<uint8_t>(byte)) & 0xff] ^ (crc >> 8);
  crc = ~crc;
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8;
}

TensorBoard::TensorBoard(const std::filesystem::path& folder, int64_t first) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  require(!error, "loggers.tensorboard.log_dir: cannot make ", folder.string(), ": ", error.message());
  file_ = std::make_unique<io::GrowingFile>(folder / name_of_file(), 0);
  std::string version = event_at(first);
  put_bytes(version, 3, "brain.Event:2");
  append(version);
  std::string session, started = event_at(first);
  put_integer(session, 1, 1);  // SessionLog.START
  put_bytes(started, 7, session);
  append(started);
}

void TensorBoard::write(const Record& record) {
  std::string summary;
  for (const auto& [name, value] : record.values) {
    std::string one;
    put_bytes(one, 1, name);
    put_float(one, 2, float(value));
    put_bytes(summary, 1, one);
  }
  std::string event = event_at(record.time.batch);
  put_bytes(event, 5, summary);
  append(event);
}

// A record: the length, its checksum, the event, its checksum.
void TensorBoard::append(const std::string& event) {
  std::string bytes;
  put_fixed(bytes, uint64_t(event.size()));
  put_fixed(bytes, masked_crc32c(bytes));
  bytes += event;
  put_fixed(bytes, masked_crc32c(event));
  file_->append(bytes);
}

}  // namespace m2bert::train
