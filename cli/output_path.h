#pragma once
#include <string>
#include <vector>

namespace m2bert::cli {

// Error if `output` is one of the files that the command reads, or in one of the folders that it reads. "" and "-" are ignored.
void require_not_read(const std::string& output, const std::vector<std::string>& read);

}  // namespace m2bert::cli
