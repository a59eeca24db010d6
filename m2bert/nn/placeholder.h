#pragma once
// Graphs that are built before the values of their inputs are known.
#include "m2bert/nn/module.h"

namespace m2bert::nn {

// An array of this shape and dtype without values, over which a graph can be built. Evaluating the graph before bind() throws.
mx::array placeholder(const mx::Shape& shape, mx::Dtype dtype);

// Gives a placeholder the values of an array of its shape and dtype, whose memory it then shares: no kernel writes over either of them.
void bind(mx::array& placeholder, const mx::array& values);

// value_and_grad() before the values of the parameters are known.
class DeferredGrad {
 public:
  // Builds the graph and evaluates nothing. Throws what loss() throws, and an exception if it needs the value of a parameter.
  DeferredGrad(std::vector<NamedArray> params, const std::function<mx::array()>& loss);
  // The loss and the gradient of the parameters as they are now. The values must not be written over before the graph is evaluated.
  ValueAndGrad bind() &&;

 private:
  std::vector<NamedArray> params_;
  Arrays placeholders_;  // for the parameters
  std::optional<ValueAndGrad> graph_;
};

}  // namespace m2bert::nn
