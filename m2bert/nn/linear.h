#pragma once
#include <optional>

#include "m2bert/nn/init.h"
#include "m2bert/nn/module.h"

namespace m2bert::nn {

// y = x W^T + b
class Linear : public Module {
 public:
  Linear(int in, int out, bool with_bias = true);
  mx::array operator()(const mx::array& x) const;  // [..., in] -> [..., out]
  void visit(Visitor& v) override;
  void init_normal(float deviation, KeySequence& keys);  // weight N(0, deviation), bias 0: BERT's
  void init_uniform(KeySequence& keys);                  // both in +-1/sqrt(in): torch's default

  mx::array weight;               // [out, in]
  std::optional<mx::array> bias;  // [out]
};

}  // namespace m2bert::nn
