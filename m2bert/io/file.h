#pragma once
// Files: mapped reading, whole reading, atomic writing, and a file that grows and can be continued.
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
  // Gives the pages of a range back to the system: a long file read once then needs no more memory than a part of it.
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
  // Fills out from the offset. Error when the file is shorter.
  void read(uint64_t offset, std::span<std::byte> out) const;

 private:
  std::filesystem::path path_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

// The whole file. Error when it is missing, a folder, not readable or longer than max_bytes.
// Pipes and devices such as /dev/stdin are read to their end.
std::string read_file(const std::filesystem::path& file, uint64_t max_bytes = uint64_t{1} << 32);

// Error unless the path is a readable regular file (naming the reason). For a check before long work.
void require_file(const std::filesystem::path& file);

// Written beside its final place under another name and renamed by commit(), so the final name never holds a part of it.
// Without commit() the temporary is removed, also when a signal ends the program through io/interrupt.h.
// A pipe or a device is written directly instead.
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

// Atomic: the old content or the new one, nothing between.
void write_file(const std::filesystem::path& file, std::string_view content);

// A file that grows over a long run, is kept when the run dies, and is continued at a known size by the next one.
class GrowingFile {
 public:
  // Opens or creates the file and cuts it to `size` bytes. Error when it has fewer.
  GrowingFile(std::filesystem::path file, uint64_t size);
  ~GrowingFile();
  GrowingFile(const GrowingFile&) = delete;
  GrowingFile& operator=(const GrowingFile&) = delete;

  void append(const void* data, size_t size);
  void append(std::string_view text) { append(text.data(), text.size()); }
  void write_at(uint64_t offset, const void* data, size_t size);  // within what is written
  void sync();                                                    // to disk
  void truncate(uint64_t size);
  uint64_t size() const { return size_; }
  // sync, close and rename to the final name. Nothing more can be written.
  void finish(const std::filesystem::path& final_path);
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

// Whether path is the folder or lies in it, links followed; neither needs to be there.
bool is_inside(const std::filesystem::path& path, const std::filesystem::path& folder);

}  // namespace m2bert::io
