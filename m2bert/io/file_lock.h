#pragma once
// A lock between processes: flock on a file of its own. The system frees it when the process ends, however that happens. On file systems
// without locks nobody waits: what is written under a lock must be checked afterwards.
#include <filesystem>
#include <functional>

namespace m2bert::io {

class FileLock {
 public:
  // Makes the file and waits until the lock is free; `waiting` is called once if that takes a moment. Error: the file cannot be made,
  // Ctrl-C.
  explicit FileLock(const std::filesystem::path& file, const std::function<void()>& waiting = {});
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int fd_ = -1;
};

}  // namespace m2bert::io
