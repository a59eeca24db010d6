#pragma once
// A linear layer after the encoder, packed for inference: of a pooler, a classifier, or a module after the pooling.
#include <memory>

#include "m2bert/ops/packed_linear.h"

namespace m2bert::models::packed {

class Head {
 public:
  // y [..., out] = x W^T + b in float32, for any number of outputs. A row has the same bits whatever rows are beside it.
  mx::array operator()(const mx::array& x) const;

  int out() const { return out_; }

 private:
  friend std::unique_ptr<Head> pack_head(const ops::LinearWeights& weights);
  std::unique_ptr<ops::PackedLinear> linear_;  // with more outputs than out_, which are not used
  int out_ = 0;
};

// Evaluates the weights, which are packed as float32. Null for int8 weights, and if the device has no kernel for the shape.
std::unique_ptr<Head> pack_head(const ops::LinearWeights& weights);

}  // namespace m2bert::models::packed
