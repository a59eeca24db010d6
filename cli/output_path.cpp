#include "cli/output_path.h"

#include <filesystem>

#include "m2bert/error.h"

namespace m2bert::cli {

namespace fs = std::filesystem;

void require_not_read(const std::string& output, const std::vector<std::string>& read) {
  std::error_code none;
  if (output.empty() || output == "-" || !fs::is_regular_file(output, none)) return;  // nothing would be lost
  for (const auto& path : read) {
    if (path.empty() || path == "-" || !fs::exists(path, none)) continue;
    const fs::path folder = fs::absolute(output).parent_path();
    const bool inside = fs::is_directory(path, none) && fs::equivalent(folder, path, none);
    require(!inside && !fs::equivalent(output, path, none), "output ", output, " would replace what this command reads (", path,
            "); name another file");
  }
}

}  // namespace m2bert::cli
