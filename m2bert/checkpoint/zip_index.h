#pragma once
// The directory of a zip archive as PyTorch writes it: the offset of each stored entry's bytes, so that weights are read straight into
// their arrays. Rejects compressed and encrypted entries, which PyTorch never writes.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace m2bert::checkpoint {

struct ZipEntry {
  std::string name;
  uint64_t offset = 0;  // of the entry's bytes in the file
  uint64_t size = 0;
  uint32_t crc = 0;  // CRC-32 of the bytes
};

// Entries in the order of their bytes. Checked: every entry is inside the file, none overlaps another or the directory, names
// are unique, local headers agree with the directory, zip64. Errors name `name` and the byte offset.
std::vector<ZipEntry> read_zip_index(std::span<const std::byte> file, const std::string& name);

// Whether the file starts as a zip archive does.
bool looks_like_zip(std::span<const std::byte> file);

// zip's CRC-32, continued from `crc` (0 at the start).
uint32_t crc32(uint32_t crc, const void* data, size_t size);

}  // namespace m2bert::checkpoint
