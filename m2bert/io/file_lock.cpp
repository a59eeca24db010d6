#include "m2bert/io/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "m2bert/error.h"
#include "m2bert/io/interrupt.h"

namespace m2bert::io {
namespace {

// Another process may remove the file when it releases the lock (Python's filelock does), and a lock on a removed file excludes nobody.
bool still_there(int fd, const std::filesystem::path& file) {
  struct stat held{}, named{};
  return ::fstat(fd, &held) == 0 && ::stat(file.c_str(), &named) == 0 && held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

}  // namespace

FileLock::FileLock(const std::filesystem::path& file, const std::function<void()>& waiting) {
  bool told = false;
  for (int tries = 0;; ++tries) {
    fd_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0664);
    require(fd_ >= 0, file.string(), ": cannot open it for a lock: ", std::strerror(errno));
    const int code = ::flock(fd_, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
    if (code == 0 && still_there(fd_, file)) return;
    if (code == ENOSYS || code == EOPNOTSUPP || code == ENOLCK) return;
    ::close(std::exchange(fd_, -1));
    require(code == 0 || code == EWOULDBLOCK || code == EINTR, file.string(), ": cannot lock it: ", std::strerror(code));
    throw_if_interrupted();
    if (tries >= 5 && !std::exchange(told, true) && waiting) waiting();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

FileLock::~FileLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace m2bert::io
