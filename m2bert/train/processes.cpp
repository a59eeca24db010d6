#include "m2bert/train/processes.h"

#include <algorithm>

namespace m2bert::train {

namespace {

// Smaller arrays are sent together: a message each would cost more than their bytes.
constexpr size_t kSmall = 1 << 16;

// Turns MLX's exception for a lost connection into ProcessLost.
void evaluate(const nn::Arrays& arrays) {
  try {
    mx::eval(arrays);
  } catch (const std::exception& e) {
    throw ProcessLost(std::string("another process of this run is gone (") + e.what() + ")");
  }
}

// Sums small arrays as one.
void sum_together(const std::vector<mx::array*>& arrays, const mx::distributed::Group& group) {
  if (arrays.empty()) return;
  nn::Arrays flat;
  for (const auto* a : arrays) flat.push_back(mx::flatten(*a));
  const auto total = mx::distributed::all_sum(mx::concatenate(flat, 0), group);
  int at = 0;
  for (auto* a : arrays) {
    const int size = int(a->size());
    *a = mx::reshape(mx::slice(total, {at}, {at + size}), a->shape());
    at += size;
  }
}

}  // namespace

void Processes::sum_arrays(nn::Arrays& arrays) const {
  if (size() == 1) return;
  std::vector<mx::array*> small;
  for (auto& a : arrays) {
    if (a.size() < kSmall && a.dtype() == mx::float32) small.push_back(&a);
    else a = mx::distributed::all_sum(a, group_);
  }
  sum_together(small, *group_);
  evaluate(arrays);
}

std::vector<int64_t> Processes::sum_counts(const std::vector<int64_t>& values) const {
  if (size() == 1) return values;
  auto total = mx::distributed::all_sum(mx::array(values.data(), {int(values.size())}, mx::int64), group_);
  evaluate({total});
  return {total.data<int64_t>(), total.data<int64_t>() + total.size()};
}

double Processes::sum_value(double value) const {
  if (size() == 1) return value;
  auto total = mx::distributed::all_sum(mx::array({float(value)}), group_);
  evaluate({total});
  return total.data<float>()[0];
}

int64_t Processes::max(int64_t value) const {
  std::vector<int64_t> all(size_t(size()), 0);
  all[size_t(rank())] = value;
  return std::ranges::max(sum_counts(all));
}

void Processes::broadcast(const std::vector<mx::array*>& arrays) const {
  if (size() == 1) return;
  nn::Arrays all;
  for (auto* a : arrays) all.push_back(first() ? *a : mx::zeros_like(*a));
  sum_arrays(all);
  for (size_t i = 0; i < arrays.size(); ++i) *arrays[i] = all[i];
}

std::string Processes::broadcast(const std::string& text) const {
  if (size() == 1) return text;
  const auto length = sum_counts({first() ? int64_t(text.size()) : 0})[0];
  std::vector<int64_t> bytes(static_cast<size_t>(length));
  if (first()) std::copy(text.begin(), text.end(), bytes.begin());
  std::string copy;
  for (const int64_t byte : sum_counts(bytes)) copy += static_cast<char>(byte);
  return copy;
}

}  // namespace m2bert::train
