#pragma once
#include <string>

namespace m2bert::cli {

struct TemporaryFile {
  int fd;
  std::string name;
};

// Makes a file in the temporary folder (TMPDIR) and opens it for reading and writing. prefix: the beginning of its name. Error, which
// starts with `purpose` and ends with a remedy, if the folder cannot be used.
TemporaryFile make_temporary_file(const std::string& prefix, const std::string& purpose);

}  // namespace m2bert::cli
