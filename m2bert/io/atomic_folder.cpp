#include "m2bert/io/atomic_folder.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "m2bert/error.h"
#include "m2bert/io/temporaries.h"

namespace m2bert::io {

namespace fs = std::filesystem;

namespace {

// Exchanges two folders in one step. False where the file system cannot.
bool exchange(const fs::path& a, const fs::path& b) {
#ifdef __APPLE__
  return ::renamex_np(a.c_str(), b.c_str(), RENAME_SWAP) == 0;
#else
  return ::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0;
#endif
}

void move_folder(const fs::path& from, const fs::path& to) {
  require(::rename(from.c_str(), to.c_str()) == 0, to.string(), ": cannot rename ", from.filename().string(),
          " to it: ", std::strerror(errno));
}

void require_made(const fs::path& folder, const std::error_code& error) {
  require(!error, folder.string(), ": cannot make this folder: ", error.message());
}

}  // namespace

AtomicFolder::AtomicFolder(const fs::path& final_path) : final_(final_path) {
  std::error_code ignored;
  if (!final_.has_filename()) final_ = final_.parent_path();
  if (const fs::path target = fs::weakly_canonical(fs::absolute(final_), ignored); !ignored) final_ = target;
  require(final_.has_filename(), final_path.string(), ": wants the name of a folder to write");
  std::error_code error;
  fs::create_directories(final_.parent_path(), error);
  require(!error, final_path.string(), ": cannot make the folder ", final_.parent_path().string(), ": ", error.message());
  do temporary_ = final_.string() + temporary_ending();
  while (!fs::create_directory(temporary_, error) && !error);
  require_made(temporary_, error);
  remember(temporary_);
}

AtomicFolder::~AtomicFolder() {
  if (!committed_) remove();
}

void AtomicFolder::remove() noexcept {
  std::error_code ignored;
  fs::remove_all(temporary_, ignored);
  for (const auto& path : remembered_) forget_temporary(path);
}

void AtomicFolder::make(const fs::path& folder) {
  std::error_code error;
  if (fs::is_directory(folder, error)) return;
  make(folder.parent_path());
  fs::create_directory(folder, error);
  require_made(folder, error);
  remember(folder);
}

void AtomicFolder::remember(const fs::path& path) {
  remembered_.push_back(path.string());
  remember_temporary(path.string());
}

fs::path AtomicFolder::file(const fs::path& relative) {
  const fs::path path = temporary_ / relative;
  make(path.parent_path());
  remember(path);
  return path;
}

void AtomicFolder::commit() {
  require(!committed_, final_.string(), ": is already finished");
  std::error_code ignored;
  if (!fs::exists(final_, ignored)) {
    move_folder(temporary_, final_);
  } else if (!exchange(temporary_, final_)) {
    const fs::path old = temporary_.string() + "-old";
    move_folder(final_, old);
    try {
      move_folder(temporary_, final_);
    } catch (const Error&) {
      move_folder(old, final_);
      throw;
    }
    temporary_ = old;
  }
  committed_ = true;
  remove();  // what was there before
}

}  // namespace m2bert::io
