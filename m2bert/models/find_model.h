#pragma once
// Finds the model that a user names.
#include <filesystem>
#include <string>

namespace m2bert::models {

// The file or folder that a name stands for: a path that exists, otherwise a model on the hub (ORG/NAME[@REVISION]), which is downloaded
// unless the cache has it. Errors start with `where`; for a name that is neither, `not_found` follows.
std::filesystem::path find_model(const std::string& name, const std::string& where, const std::string& not_found);

}  // namespace m2bert::models
