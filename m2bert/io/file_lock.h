#pragma once
// A lock between processes: flock on a lock file. The system releases it when the process ends, however it ends. On file systems without
// locks it does not wait, so whatever is written under a lock must be checked afterwards.
#include <filesystem>
#include <functional>

namespace m2bert::io {

class FileLock {
 public:
  // Creates the file and waits for the lock; calls `waiting` once if that takes a moment. Throws if the file cannot be created, and on
  // Ctrl-C.
  explicit FileLock(const std::filesystem::path& file, const std::function<void()>& waiting = {});
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int fd_ = -1;
};

}  // namespace m2bert::io
