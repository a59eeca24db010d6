#include "m2bert/nn/kept.h"

namespace m2bert::nn {

bool any_traced(const std::vector<mx::array>& arrays) {
  return std::ranges::any_of(arrays, [](const mx::array& a) { return a.is_tracer(); });
}

}  // namespace m2bert::nn
