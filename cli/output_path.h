#pragma once
#include <string>
#include <vector>

namespace m2bert::cli {

// Error if the output has no name, or if a file or folder is there already and is not to be replaced. Pipes and devices are written.
void require_free(const std::string& output, bool overwrite);

// Error if `output` is one of the files that the command reads, or in one of the folders that it reads. "" and "-" are ignored.
void require_not_read(const std::string& output, const std::vector<std::string>& read);

}  // namespace m2bert::cli
