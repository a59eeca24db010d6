#pragma once
#include <functional>
#include <optional>
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::nn {

// An array that depends on weights and a length alone: computed once and kept until the length or one of the weights is another.
// Weights are told apart by their handles' ids; the handles are held, so that no id is used again. Inside a gradient's trace, where
// weights have no values, it is computed anew and not kept.
class Kept {
 public:
  mx::array get(int length, std::vector<mx::array> weights, const std::function<mx::array()>& compute);
  bool holds(int length, const std::vector<mx::array>& weights) const;

 private:
  struct State {
    int length;
    std::vector<mx::array> weights;
    mx::array value;
  };
  std::optional<State> state_;
};

// Whether one of them is traced by a gradient.
bool any_traced(const std::vector<mx::array>& arrays);

}  // namespace m2bert::nn
