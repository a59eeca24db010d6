#include "m2bert/io/path.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <system_error>

#include "m2bert/error.h"

namespace m2bert::io {
namespace {

namespace fs = std::filesystem;

constexpr int most_links = 40;  // as Linux

// The process's own descriptor that the path names.
std::optional<int> descriptor_of(const fs::path& path) {
  const std::string text = path.string();
  if (text == "/dev/stdout") return STDOUT_FILENO;
  if (text == "/dev/stderr") return STDERR_FILENO;
  for (const std::string folder : {"/dev/fd/", "/proc/self/fd/"}) {
    if (!text.starts_with(folder)) continue;
    int number = -1;
    const char* end = text.data() + text.size();
    if (std::from_chars(text.data() + folder.size(), end, number).ptr == end && number >= 0) return number;
  }
  return std::nullopt;
}

bool is_no_error(const std::error_code& error) { return !error || error == std::errc::no_such_file_or_directory; }

// "a.npy" or, for a link, "a.npy (a link to b.npy)".
std::string shown(const fs::path& path, const fs::path& target) {
  return path == target ? path.string() : path.string() + " (a link to " + target.string() + ")";
}

}  // namespace

fs::path follow_links(fs::path path) {
  const fs::path given = path;
  for (int links = 0;; ++links) {
    std::error_code error;
    if (descriptor_of(path) || !fs::is_symlink(fs::symlink_status(path, error))) return path;
    require(links < most_links, given.string(), ": is a loop of symbolic links");
    const fs::path target = fs::read_symlink(path, error);
    require(!error, path.string(), ": ", reason_of(error));
    path = target.is_absolute() ? target : path.parent_path() / target;
  }
}

bool is_stream(const fs::path& path) {
  const fs::path target = follow_links(path);
  if (descriptor_of(target)) return true;
  std::error_code error;
  const fs::file_status status = fs::status(target, error);
  return fs::exists(status) && !fs::is_regular_file(status) && !fs::is_directory(status);
}

int open_stream(const fs::path& path) {
  const fs::path target = follow_links(path);
  const auto descriptor = descriptor_of(target);
  const int fd = descriptor ? ::fcntl(*descriptor, F_DUPFD_CLOEXEC, 0) : ::open(target.c_str(), O_WRONLY | O_CLOEXEC);
  require(fd >= 0, path.string(), ": cannot open it for writing: ", std::strerror(errno));
  return fd;
}

fs::path writable_path(const fs::path& path) {
  require(!path.empty(), "the name of the output is empty; name a file");
  require(path.has_filename(), path.string(), ": is the name of a folder, wants the name of a file to write");
  fs::path target = follow_links(path);
  std::error_code error;
  require(!fs::is_directory(target, error), path.string(), ": is a folder, wants the name of a file to write");
  if (!target.has_parent_path()) return target;
  const fs::path folder = target.parent_path();
  const fs::file_status status = fs::status(folder, error);
  require(fs::status_known(status) && is_no_error(error), shown(path, target), ": cannot be written: ", reason_of(error));
  require(fs::exists(status), shown(path, target), ": the folder ", folder.string(), " does not exist; make it first");
  require(fs::is_directory(status), shown(path, target), ": ", folder.string(), " is a file, not a folder");
  return target;
}

std::string reason_of(const std::error_code& error) {
  if (error == std::errc::too_many_symbolic_link_levels) return "is a loop of symbolic links";
  if (error == std::errc::permission_denied) return "permission denied";
  if (error == std::errc::no_such_file_or_directory) return "no such file or folder";
  if (error == std::errc::not_a_directory) return "a part of the path is a file, not a folder";
  if (error == std::errc::filename_too_long) return "the name is too long";
  return error.message();
}

std::string message_of(const std::exception& error) {
  const auto* file = dynamic_cast<const fs::filesystem_error*>(&error);
  if (file != nullptr && !file->path1().empty()) return file->path1().string() + ": " + reason_of(file->code());
  if (file != nullptr) return reason_of(file->code());
  return error.what();
}

}  // namespace m2bert::io
