#include "m2bert/ops/host_array.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <deque>
#include <mutex>
#include <utility>
#include <vector>

namespace m2bert::ops {

namespace {

constexpr size_t MOST = 32;  // arrays that are kept

// Gives an array without data its values, in the memory of a kept array. These have sizes that are powers of 2, those that were used last
// stand at the end, and they are never freed: MLX's allocator may go first.
template <typename T>
void fill(mx::array& result, const T* values) {
  static std::mutex mutex;
  static auto* kept = new std::deque<mx::array>;
  const std::lock_guard lock(mutex);
  const int capacity = int(std::bit_ceil(result.size()));
  auto found =
      std::ranges::find_if(*kept, [&](const mx::array& a) { return a.shape(0) == capacity && a.data_shared_ptr().use_count() == 1; });
  if (found != kept->end()) {
    auto array = *found;
    kept->erase(found);
    kept->push_back(std::move(array));
  } else {
    kept->emplace_back(std::vector<T>(size_t(capacity)).data(), mx::Shape{capacity}, result.dtype());
    if (kept->size() > MOST) kept->pop_front();
  }
  std::memcpy(kept->back().template data<T>(), values, result.nbytes());
  const bool is_vector = std::ranges::any_of(result.shape(), [&](int n) { return size_t(n) == result.size(); });
  result.copy_shared_buffer(kept->back(), result.strides(), {true, true, is_vector}, result.size());
  result.set_status(mx::array::available);
}

template <typename T>
mx::array make(const T* values, const mx::Shape& shape, mx::Dtype dtype) {
  mx::array result(shape, dtype, nullptr, {});
  if (mx::default_device() == mx::Device::cpu || result.size() == 0) return mx::array(values, shape, dtype);
  fill(result, values);
  return result;
}

}  // namespace

mx::array host_array(const int32_t* values, const mx::Shape& shape) { return make(values, shape, mx::int32); }
mx::array host_array(const float* values, const mx::Shape& shape) { return make(values, shape, mx::float32); }

mx::array index_array_of_values(const std::vector<IndexRun>& runs) {
  std::vector<int> values;
  for (const auto& [value, count] : runs) {
    for (int i = 0; i < count; ++i) values.push_back(value + i);
  }
  return host_array(values.data(), {int(values.size())});
}

mx::array index_array_of_steps(const std::vector<IndexRun>& runs) {
  std::vector<int> begins, steps;
  int n = 0, last = 0;
  for (const auto& [value, count] : runs) {
    if (count == 0) continue;
    begins.push_back(n), steps.push_back(value - last);
    n += count, last = value + count - 1;
  }
  if (n == 0) return host_array(begins.data(), {0});
  const int size = int(begins.size());
  const auto all = mx::scatter(mx::ones({n}, mx::int32), host_array(begins.data(), {size}), host_array(steps.data(), {size, 1}), 0);
  return mx::cumsum(all, 0);
}

mx::array index_array(const std::vector<IndexRun>& runs) {
  constexpr size_t length = 16;  // of a run, on average
  size_t n = 0;
  for (const auto& run : runs) n += size_t(run.count);
  const bool on_host = mx::default_device() == mx::Device::cpu || n < length * runs.size();
  return on_host ? index_array_of_values(runs) : index_array_of_steps(runs);
}

}  // namespace m2bert::ops
