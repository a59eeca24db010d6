#pragma once
// What the names of metrics say about them.
#include <string_view>

namespace m2bert::metrics {

// False for losses and errors: names that end in CrossEntropy, Perplexity, Error or Loss.
inline bool higher_is_better(std::string_view name) {
  for (const std::string_view end : {"CrossEntropy", "Perplexity", "Error", "Loss"}) {
    if (name.ends_with(end)) return false;
  }
  return true;
}

}  // namespace m2bert::metrics
