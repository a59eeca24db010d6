#pragma once
// Zip archives such as torch.save writes: an index that is checked before anything is read, entries read straight into
// the caller's memory, and writing with the entries' data aligned. Zip64 included.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "m2bert/io/file.h"

namespace m2bert::io {

enum class ZipMethod { stored, deflated };

struct ZipEntry {
  std::string name;
  ZipMethod method;
  uint64_t compressed_size;
  uint64_t size;  // uncompressed
  uint32_t crc32;
  uint64_t data_offset;  // of the entry's bytes in the file
};

struct ZipLimits {
  uint64_t entries = 1 << 20;
  uint64_t total_size = uint64_t{1} << 44;  // uncompressed, of all entries
  uint64_t ratio = 1100;                    // size / compressed size of a deflated entry; deflate itself reaches 1032
};

// Errors name the file and the entry. Refused: damaged or truncated archives, entries that overlap, lie outside the file or differ from
// their own header, duplicate names, absolute names and names with "..", encryption, other methods, several disks, bombs.
class ZipReader {
 public:
  explicit ZipReader(const std::filesystem::path& file, const ZipLimits& limits = {});

  const std::vector<ZipEntry>& entries() const { return entries_; }
  const ZipEntry* find(std::string_view name) const;
  const ZipEntry& at(std::string_view name) const;  // Error if absent
  // The entry's content, CRC checked. out.size() must be entry.size.
  void read(const ZipEntry& entry, std::span<std::byte> out) const;
  std::string read(const ZipEntry& entry, uint64_t max_bytes = uint64_t{1} << 30) const;
  const std::filesystem::path& path() const { return file_.path(); }

 private:
  void read_index(const ZipLimits& limits);
  void check(const ZipLimits& limits);
  void inflate(const ZipEntry& entry, std::span<std::byte> out) const;
  RandomFile file_;
  std::vector<ZipEntry> entries_;  // in the order of the archive's directory
  std::vector<size_t> by_name_;    // sorted
};

// Whether the file starts as a zip archive does.
bool looks_like_zip(std::span<const std::byte> head);

// Stored entries, data aligned to `alignment` bytes by a padding field in the header, as torch.save does. Streams: memory does
// not grow with the entries. The final name appears only at finish().
class ZipWriter {
 public:
  explicit ZipWriter(const std::filesystem::path& file, uint32_t alignment = 64);
  ~ZipWriter();

  // One whole entry.
  void add(const std::string& name, std::span<const std::byte> content);
  void add(const std::string& name, std::string_view content) { add(name, std::as_bytes(std::span(content))); }
  // One entry in pieces that together have `size` bytes. end() checks that.
  void begin(const std::string& name, uint64_t size);
  void append(std::span<const std::byte> piece);
  void end();
  void finish();

 private:
  struct Written;
  void begin(const std::string& name, uint64_t size, uint32_t crc /* as far as it is known */);
  std::unique_ptr<Written> current_;
  std::vector<Written> entries_;
  AtomicFile file_;
  uint32_t alignment_;
  uint64_t left_ = 0;
};

}  // namespace m2bert::io
