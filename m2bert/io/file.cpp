#include "m2bert/io/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "m2bert/error.h"
#include "m2bert/io/path.h"
#include "m2bert/io/temporaries.h"

namespace m2bert::io {
namespace {

constexpr size_t kBuffer = size_t{1} << 20;

[[noreturn]] void fail_system(const std::filesystem::path& file, const char* action, int code) {
  std::string hint;
  if (code == ENOSPC || code == EDQUOT) hint = "; free some space or choose another disk";
  fail(file.string(), ": cannot ", action, ": ", std::strerror(code), hint);
}

int open_for_reading(const std::filesystem::path& file) {
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    require(errno != ENOENT, file.string(), ": no such file");
    require(errno != EACCES, file.string(), ": may not be read (permission denied)");
    require(errno != ELOOP, file.string(), ": is a loop of symbolic links");
    fail_system(file, "open", errno);
  }
  return fd;
}

// Opens the file and reads its status; refuses folders.
int open_for_reading(const std::filesystem::path& file, struct stat& info) {
  const int fd = open_for_reading(file);
  if (::fstat(fd, &info) != 0 || S_ISDIR(info.st_mode)) {
    const int code = errno;
    ::close(fd);
    require(!S_ISDIR(info.st_mode), file.string(), ": is a folder, wants a file");
    fail_system(file, "stat", code);
  }
  return fd;
}

int open_regular(const std::filesystem::path& file, uint64_t& size) {
  struct stat info{};
  const int fd = open_for_reading(file, info);
  if (!S_ISREG(info.st_mode)) {
    ::close(fd);
    fail(file.string(), ": is not a regular file");
  }
  size = static_cast<uint64_t>(info.st_size);
  return fd;
}

void write_all(const std::filesystem::path& file, int fd, const char* data, size_t size) {
  while (size > 0) {
    const ssize_t n = ::write(fd, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_system(file, "write", errno);
    data += n;
    size -= static_cast<size_t>(n);
  }
}

void write_all_at(const std::filesystem::path& file, int fd, uint64_t offset, const char* data, size_t size) {
  while (size > 0) {
    const ssize_t n = ::pwrite(fd, data, size, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_system(file, "write", errno);
    data += n;
    size -= static_cast<size_t>(n);
    offset += static_cast<uint64_t>(n);
  }
}

void sync_file(const std::filesystem::path& file, int fd) {
  // Pipes and some file systems cannot sync: EINVAL.
  if (::fsync(fd) != 0 && errno != EINVAL && errno != EROFS) fail_system(file, "flush to disk", errno);
}

// Makes a rename in the folder survive a power failure. Best effort: not every file system can.
void sync_folder(const std::filesystem::path& file) {
  const auto folder = file.has_parent_path() ? file.parent_path() : std::filesystem::path(".");
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  (void)::fsync(fd);
  ::close(fd);
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& file) : path_(file) {
  uint64_t size = 0;
  const int fd = open_regular(file, size);
  if (size > 0) {
    void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    const int code = errno;
    ::close(fd);
    if (data == MAP_FAILED) fail_system(file, "map", code);
    data_ = data;
    size_ = size;
  } else {
    ::close(fd);
  }
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<void*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void MappedFile::release(size_t offset, size_t size) const {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t begin = (std::min(offset, size_) + page - 1) / page * page;
  const size_t end = std::min(size_, offset + std::min(size, SIZE_MAX - offset)) / page * page;
  if (begin < end) (void)::madvise(static_cast<char*>(const_cast<void*>(data_)) + begin, end - begin, MADV_DONTNEED);
}

RandomFile::RandomFile(const std::filesystem::path& file) : path_(file) { fd_ = open_regular(file, size_); }

RandomFile::~RandomFile() {
  if (fd_ >= 0) ::close(fd_);
}

RandomFile::RandomFile(RandomFile&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), size_(std::exchange(other.size_, 0)) {}

RandomFile& RandomFile::operator=(RandomFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(size_, other.size_);
  return *this;
}

void RandomFile::read(uint64_t offset, std::span<std::byte> out) const {
  require(offset <= size_ && out.size() <= size_ - offset, path_.string(), ": wants ", out.size(), " bytes at offset ", offset,
          ", but the file has ", size_);
  while (!out.empty()) {
    const ssize_t n = ::pread(fd_, out.data(), out.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_system(path_, "read", errno);
    require(n > 0, path_.string(), ": became shorter while it was read");
    out = out.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
}

std::string read_file(const std::filesystem::path& file, uint64_t max_bytes) {
  struct stat info{};
  const int fd = open_for_reading(file, info);
  std::string content;
  try {
    const uint64_t expected = S_ISREG(info.st_mode) ? static_cast<uint64_t>(info.st_size) : 0;
    require(expected <= max_bytes, file.string(), ": has ", expected, " bytes, at most ", max_bytes, " are read");
    size_t size = 0;
    content.resize(expected + 1);  // one more byte: a read of 0 then proves the end
    for (;;) {
      const ssize_t n = ::read(fd, content.data() + size, content.size() - size);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail_system(file, "read", errno);
      if (n == 0) break;
      size += static_cast<size_t>(n);
      require(size <= max_bytes, file.string(), ": has more than ", max_bytes, " bytes");
      if (size == content.size()) content.resize(size + std::max(size, kBuffer));
    }
    content.resize(size);
  } catch (...) {
    ::close(fd);
    throw;
  }
  ::close(fd);
  return content;
}

void require_file(const std::filesystem::path& file) {
  uint64_t size = 0;
  ::close(open_regular(file, size));
}

AtomicFile::AtomicFile(std::filesystem::path final_path) : final_(std::move(final_path)) {
  if (is_stream(final_)) {
    fd_ = open_stream(final_);
    return;
  }
  final_ = writable_path(final_);
  do {
    temporary_ = final_.string() + temporary_ending();
    fd_ = ::open(temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
  } while (fd_ < 0 && errno == EEXIST);
  if (fd_ < 0) fail_system(final_, "write beside it", errno);
  remember_temporary(temporary_.string());
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  if (temporary_.empty()) return;
  ::unlink(temporary_.c_str());
  forget_temporary(temporary_.string());
}

void AtomicFile::write(const void* data, size_t size) {
  require(fd_ >= 0, final_.string(), ": is already finished");
  if (buffer_.size() + size > kBuffer) flush();
  if (size >= kBuffer) write_all(final_, fd_, static_cast<const char*>(data), size);
  else buffer_.append(static_cast<const char*>(data), size);
  size_ += size;
}

void AtomicFile::flush() {
  write_all(final_, fd_, buffer_.data(), buffer_.size());
  buffer_.clear();
}

void AtomicFile::write_at(uint64_t offset, const void* data, size_t size) {
  require(fd_ >= 0, final_.string(), ": is already finished");
  require(offset <= size_ && size <= size_ - offset, final_.string(), ": cannot overwrite beyond its ", size_, " bytes");
  flush();
  write_all_at(final_, fd_, offset, static_cast<const char*>(data), size);
}

void AtomicFile::commit() {
  require(fd_ >= 0, final_.string(), ": is already finished");
  flush();
  if (temporary_.empty()) {
    if (::close(std::exchange(fd_, -1)) != 0 && errno != EINTR) fail_system(final_, "close", errno);
    return;
  }
  sync_file(final_, fd_);
  // A file that is replaced keeps its permissions.
  struct stat old{};
  if (::stat(final_.c_str(), &old) == 0) (void)::fchmod(fd_, old.st_mode & 07777);
  if (::rename(temporary_.c_str(), final_.c_str()) != 0) fail_system(final_, "rename to it", errno);
  forget_temporary(temporary_.string());
  const int fd = std::exchange(fd_, -1);
  if (::close(fd) != 0 && errno != EINTR) fail_system(final_, "close", errno);
  sync_folder(final_);
}

void write_file(const std::filesystem::path& file, std::string_view content) {
  AtomicFile out(file);
  out.write(content);
  out.commit();
}

GrowingFile::GrowingFile(std::filesystem::path file, uint64_t size) : path_(std::move(file)) {
  (void)writable_path(path_);
  fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd_ < 0) fail_system(path_, "open for writing", errno);
  try {
    struct stat info{};
    if (::fstat(fd_, &info) != 0) fail_system(path_, "stat", errno);
    require(S_ISREG(info.st_mode), path_.string(), ": is not a regular file");
    require(static_cast<uint64_t>(info.st_size) >= size, path_.string(), ": has ", info.st_size, " bytes, wants at least ", size,
            " to resume from");
    truncate(size);
  } catch (...) {
    ::close(fd_);
    throw;
  }
}

GrowingFile::~GrowingFile() {
  if (fd_ >= 0) ::close(fd_);
}

void GrowingFile::append(const void* data, size_t size) {
  require(fd_ >= 0, path_.string(), ": is already finished");
  write_all_at(path_, fd_, size_, static_cast<const char*>(data), size);
  size_ += size;
}

void GrowingFile::write_at(uint64_t offset, const void* data, size_t size) {
  require(fd_ >= 0, path_.string(), ": is already finished");
  require(offset <= size_ && size <= size_ - offset, path_.string(), ": cannot overwrite beyond its ", size_, " bytes");
  write_all_at(path_, fd_, offset, static_cast<const char*>(data), size);
}

void GrowingFile::sync() { sync_file(path_, fd_); }

void GrowingFile::truncate(uint64_t size) {
  if (::ftruncate(fd_, static_cast<off_t>(size)) != 0) fail_system(path_, "cut", errno);
  size_ = size;
}

void GrowingFile::finish(const std::filesystem::path& final_path) {
  require(fd_ >= 0, path_.string(), ": is already finished");
  sync();
  const int fd = std::exchange(fd_, -1);
  if (::close(fd) != 0 && errno != EINTR) fail_system(path_, "close", errno);
  if (::rename(path_.c_str(), final_path.c_str()) != 0) fail_system(final_path, "rename to it", errno);
  sync_folder(final_path);
}

bool is_inside(const std::filesystem::path& path, const std::filesystem::path& folder) {
  const std::string inner = std::filesystem::weakly_canonical(path).string() + "/";
  return inner.starts_with(std::filesystem::weakly_canonical(folder).string() + "/");
}

}  // namespace m2bert::io
