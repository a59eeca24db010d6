#pragma once
// Writes a zip archive as PyTorch does: stored entries, their bytes aligned to 64, zip64 where needed.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "m2bert/io/file.h"

namespace m2bert::checkpoint {

class ZipWriter {
 public:
  // Sizes and offsets of at least zip64_from are written in zip64 fields.
  explicit ZipWriter(io::AtomicFile& out, uint64_t zip64_from = 0xffffffff) : out_(out), zip64_from_(zip64_from) {}

  void add(const std::string& name, std::span<const std::byte> bytes);
  void add(const std::string& name, std::string_view text) { add(name, std::as_bytes(std::span(text))); }
  // Writes the directory. The file is not committed.
  void finish();

 private:
  struct Entry {
    std::string name;
    uint64_t header, size;
    uint32_t crc;
  };
  void put(uint64_t value, int bytes);
  io::AtomicFile& out_;
  uint64_t zip64_from_;
  std::vector<Entry> entries_;
};

}  // namespace m2bert::checkpoint
