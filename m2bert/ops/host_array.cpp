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

mx::array index_array_of_runs(const std::vector<int>& values, const std::vector<int>& begins) {
  const int n = int(values.size()), count = int(begins.size());
  std::vector<int> steps;
  for (const int i : begins) steps.push_back(i ? values[size_t(i)] - values[size_t(i) - 1] : values[0]);
  const auto all = mx::scatter(mx::ones({n}, mx::int32), host_array(begins.data(), {count}), host_array(steps.data(), {count, 1}), 0);
  return mx::cumsum(all, 0);
}

mx::array index_array(const std::vector<int>& values) {
  if (mx::default_device() == mx::Device::cpu) return host_array(values.data(), {int(values.size())});
  std::vector<int> begins;
  for (size_t i = 0; i < values.size(); ++i) {
    if (i == 0 || values[i] != values[i - 1] + 1) begins.push_back(int(i));
  }
  constexpr size_t length = 16;  // of a run, on average
  if (values.empty() || values.size() < length * begins.size()) return host_array(values.data(), {int(values.size())});
  return index_array_of_runs(values, begins);
}

}  // namespace m2bert::ops
