#pragma once
// Files: memory-mapped, random and whole reading, atomic writing, and a file that grows and can be resumed.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace m2bert::io {

// A regular file's bytes, mapped read-only. Errors name the file and say whether it is missing, a folder or not readable.
// An empty file has an empty span.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& file);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(data_), size_}; }
  const std::filesystem::path& path() const { return path_; }
  // Releases the pages of a range, so that reading a long file once needs memory for a part of it only.
  void release(size_t offset, size_t size) const;

 private:
  std::filesystem::path path_;
  const void* data_ = nullptr;
  size_t size_ = 0;
};

// A file open for reading at any position. Thread-safe.
class RandomFile {
 public:
  explicit RandomFile(const std::filesystem::path& file);
  ~RandomFile();
  RandomFile(RandomFile&& other) noexcept;
  RandomFile& operator=(RandomFile&& other) noexcept;
  RandomFile(const RandomFile&) = delete;
  RandomFile& operator=(const RandomFile&) = delete;

  uint64_t size() const { return size_; }
  const std::filesystem::path& path() const { return path_; }
  // Fills out with the bytes from the offset on. Throws if the file is shorter.
  void read(uint64_t offset, std::span<std::byte> out) const;

 private:
  std::filesystem::path path_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

// Reads the whole file. Throws if it is missing, a folder, not readable or longer than max_bytes.
// Pipes and devices such as /dev/stdin are read to their end.
std::string read_file(const std::filesystem::path& file, uint64_t max_bytes = uint64_t{1} << 32);

// Throws, with the reason, unless the path is a readable regular file. For a check before long work.
void require_file(const std::filesystem::path& file);

// Writes a temporary file beside the final one; commit() renames it, so that the final name never holds a partial file.
// Without commit() the temporary is removed, also when a signal ends the program through io/interrupt.h.
// A symbolic link stays, and what it points at is replaced. Pipes and devices are written directly.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path final_path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, size_t size);
  void write(std::string_view text) { write(text.data(), text.size()); }
  uint64_t size() const { return size_; }  // bytes written so far
  // Overwrites bytes already written (a header known only at the end).
  void write_at(uint64_t offset, const void* data, size_t size);
  // Flushes to disk and renames. Afterwards nothing more can be written.
  void commit();
  const std::filesystem::path& temporary() const { return temporary_; }

 private:
  void flush();
  std::filesystem::path final_, temporary_;
  std::string buffer_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

// Replaces the content of a file atomically.
void write_file(const std::filesystem::path& file, std::string_view content);

// A file that grows over a long run. It survives a crash, and the next run resumes it at a known size.
class GrowingFile {
 public:
  // Opens or creates the file and truncates it to `size` bytes. Throws if it has fewer.
  GrowingFile(std::filesystem::path file, uint64_t size);
  ~GrowingFile();
  GrowingFile(const GrowingFile&) = delete;
  GrowingFile& operator=(const GrowingFile&) = delete;

  void append(const void* data, size_t size);
  void append(std::string_view text) { append(text.data(), text.size()); }
  void write_at(uint64_t offset, const void* data, size_t size);  // within what was written
  void sync();                                                    // to disk
  void truncate(uint64_t size);
  uint64_t size() const { return size_; }
  // Syncs, closes and renames to the final name. Nothing more can be written.
  void finish(const std::filesystem::path& final_path);
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

// Whether path is the folder or inside it, with links resolved; neither needs to exist.
bool is_inside(const std::filesystem::path& path, const std::filesystem::path& folder);

}  // namespace m2bert::io
