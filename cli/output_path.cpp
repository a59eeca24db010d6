#include "cli/output_path.h"

#include <filesystem>

#include "m2bert/error.h"
#include "m2bert/io/path.h"

namespace m2bert::cli {

namespace fs = std::filesystem;

void require_free(const std::string& output, bool overwrite) {
  require(!output.empty(), "the name of the output is empty");
  require(overwrite || !fs::exists(output) || io::is_stream(output), "output ", output, " is there already; --overwrite replaces it");
}

void require_not_read(const std::string& output, const std::vector<std::string>& read) {
  std::error_code none;
  if (output.empty() || output == "-" || !fs::is_regular_file(output, none)) return;  // nothing would be lost
  for (const auto& path : read) {
    if (path.empty() || path == "-" || !fs::exists(path, none)) continue;
    const fs::path file = fs::canonical(output, none);
    const bool inside = fs::is_directory(path, none) && fs::equivalent(file.parent_path(), path, none);
    require(!inside && !fs::equivalent(file, path, none), "output ", output, " would replace what this command reads (", path,
            "); name another file");
  }
}

}  // namespace m2bert::cli
