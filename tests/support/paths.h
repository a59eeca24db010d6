#pragma once
#include <cstdlib>
#include <filesystem>

namespace m2bert::test {

inline std::filesystem::path source_dir() { return M2BERT_SOURCE_DIR; }

// Upstream's fixtures and recipes, which a user's clone does not have: M2BERT_SHARED, or `shared` beside the checkout.
inline std::filesystem::path shared_dir() {
  const char* set = std::getenv("M2BERT_SHARED");
  return set ? std::filesystem::path(set) : source_dir().parent_path() / "shared";
}

}  // namespace m2bert::test
