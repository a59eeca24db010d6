#include "m2bert/nn/kept.h"

#include <algorithm>

namespace m2bert::nn {

bool any_traced(const std::vector<mx::array>& arrays) {
  return std::ranges::any_of(arrays, [](const mx::array& a) { return a.is_tracer(); });
}

bool Kept::holds(int length, const std::vector<mx::array>& weights) const {
  if (!state_ || state_->length != length) return false;
  return std::equal(weights.begin(), weights.end(), state_->weights.begin(), state_->weights.end(),
                    [](const mx::array& a, const mx::array& b) { return a.id() == b.id(); });
}

mx::array Kept::get(int length, std::vector<mx::array> weights, const std::function<mx::array()>& compute) {
  if (holds(length, weights)) return state_->value;
  state_.reset();  // the old value goes before the new one is made
  auto value = compute();
  if (any_traced(weights)) return value;
  mx::eval(value);
  state_ = State{length, std::move(weights), value};
  return value;
}

}  // namespace m2bert::nn
