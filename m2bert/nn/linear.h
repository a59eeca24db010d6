#pragma once
#include <optional>

#include "m2bert/nn/init.h"
#include "m2bert/nn/module.h"
#include "m2bert/ops/quantized.h"

namespace m2bert::nn {

// y = x W^T + b. W is floating-point, or int8 with a scale per output (ops/quantized.h) for inference.
class Linear : public Module {
 public:
  Linear(int in, int out, bool with_bias = true);
  mx::array operator()(const mx::array& x) const;  // [..., in] -> [..., out]
  void visit(Visitor& v) override;
  void init_normal(float deviation, KeySequence& keys);  // weight N(0, deviation), bias 0, as in BERT
  void init_uniform(KeySequence& keys);                  // both in +-1/sqrt(in), torch's default

  ops::Weight matrix() const { return {weight, weight_scale}; }

  mx::array weight;                       // [out, in]
  std::optional<mx::array> weight_scale;  // [out], for int8 weights
  std::optional<mx::array> bias;          // [out]
};

}  // namespace m2bert::nn
