#pragma once
// For kernels that do several arrays in a launch.
#include <algorithm>
#include <cstddef>
#include <vector>

namespace m2bert::ops::cuda {

// Indices of arrays that are not empty, the largest first: those of one launch are of a similar size.
template <typename Size>
std::vector<size_t> by_size(size_t count, Size size) {
  std::vector<size_t> order;
  for (size_t i = 0; i < count; ++i) {
    if (size(i) > 0) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return size(a) > size(b); });
  return order;
}

// Of 256 threads, for the largest array; at most `most`.
inline int blocks_of(size_t n, int most) { return std::clamp(int((n + 255) / 256), 1, most); }

}  // namespace m2bert::ops::cuda
