#pragma once
#include "m2bert/nn/module.h"

namespace m2bert::nn {

// (x - mean) / sqrt(var + eps) * weight + bias over the last axis.
class LayerNorm : public Module {
 public:
  LayerNorm(int dim, float eps) : weight(mx::ones({dim})), bias(mx::zeros({dim})), eps_(eps) {}
  mx::array operator()(const mx::array& x) const { return mx::fast::layer_norm(x, weight, bias, eps_); }
  void visit(Visitor& v) override {
    v("weight", weight);
    v("bias", bias);
  }

  mx::array weight, bias;  // [dim]

 private:
  float eps_;
};

}  // namespace m2bert::nn
