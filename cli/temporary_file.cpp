#include "cli/temporary_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "m2bert/error.h"
#include "m2bert/io/path.h"

namespace m2bert::cli {

TemporaryFile make_temporary_file(const std::string& prefix, const std::string& purpose) {
  const char* variable = std::getenv("TMPDIR");
  const std::filesystem::path folder = variable != nullptr && *variable != '\0' ? variable : "/tmp";
  TemporaryFile file{-1, (folder / (prefix + "XXXXXX")).string()};
  file.fd = ::mkstemp(file.name.data());
  require(file.fd >= 0, purpose, ": the temporary folder ", folder.string(),
          " cannot be used: ", io::reason_of(std::error_code(errno, std::generic_category())), "; set TMPDIR to another one");
  ::fcntl(file.fd, F_SETFD, FD_CLOEXEC);
  return file;
}

}  // namespace m2bert::cli
