#include "m2bert/tasks/memory_bank.h"

#include <algorithm>

#include "m2bert/error.h"

namespace m2bert::tasks {

namespace {

int host_value(mx::array a) {
  a.eval();
  return a.data<int32_t>()[0];
}

}  // namespace

MemoryBank::MemoryBank(int capacity, int size)
    : vectors_(mx::zeros({capacity, size})), numbers_(mx::full({capacity}, -1, mx::int32)), pushed_(mx::zeros({1}, mx::int32)) {
  require(capacity > 0 && size > 0, "[MemoryBank] wants a capacity and a size above 0");
}

int MemoryBank::count() const { return std::min(host_value(pushed_), vectors_.shape(0)); }

mx::array MemoryBank::vectors() const { return mx::slice(vectors_, {0, 0}, {count(), vectors_.shape(1)}); }

std::vector<int32_t> MemoryBank::numbers() const {
  auto all = numbers_;
  all.eval();
  return {all.data<int32_t>(), all.data<int32_t>() + count()};
}

void MemoryBank::push(const mx::array& vectors, const std::vector<int32_t>& numbers) {
  const int capacity = vectors_.shape(0), given = vectors.shape(0), n = std::min(given, capacity);
  require(vectors.ndim() == 2 && vectors.shape(1) == vectors_.shape(1) && numbers.size() == size_t(given),
          "[MemoryBank] vectors have shape ", vectors.shape(), " for ", numbers.size(), " texts");
  const int pushed = host_value(pushed_);
  std::vector<int32_t> places;
  for (int i = 0; i < n; ++i) places.push_back((pushed + i) % capacity);
  // The last n, if there are more than the bank holds.
  const auto newest = mx::astype(mx::slice(vectors, {given - n, 0}, {given, vectors.shape(1)}), mx::float32);
  const auto at = mx::array(places.begin(), {n}, mx::int32);
  vectors_ = mx::scatter(vectors_, at, mx::expand_dims(newest, 1), 0);
  numbers_ = mx::scatter(numbers_, at, mx::array(numbers.end() - n, {n, 1}, mx::int32), 0);
  const int next = pushed + n;
  pushed_ = mx::full({1}, next >= 2 * capacity ? next - capacity : next, mx::int32);
  mx::eval({vectors_, numbers_, pushed_});
}

std::vector<nn::NamedArray> MemoryBank::state() {
  return {{"memory_bank.vectors", &vectors_, nn::Role::buffer},
          {"memory_bank.numbers", &numbers_, nn::Role::buffer},
          {"memory_bank.pushed", &pushed_, nn::Role::buffer}};
}

}  // namespace m2bert::tasks
