#pragma once
#include <string>
#include <vector>

namespace m2bert::cli {

// Error when `output` is one of the files that the command reads, or a file inside one of the folders it reads. "" and "-" count as none.
void require_not_read(const std::string& output, const std::vector<std::string>& read);

}  // namespace m2bert::cli
