#pragma once
#include "m2bert/nn/module.h"
#include "m2bert/ops/layer_norm.h"

namespace m2bert::nn {

// (x - mean) / sqrt(var + eps) * weight + bias over the last axis.
class LayerNorm : public Module {
 public:
  LayerNorm(int dim, float eps) : weight(mx::ones({dim})), bias(mx::zeros({dim})), eps_(eps) {}
  mx::array operator()(const mx::array& x) const { return ops::layer_norm(x, std::nullopt, weight, bias, eps_); }
  // The norm of x + residual.
  mx::array operator()(const mx::array& x, const mx::array& residual) const { return ops::layer_norm(x, residual, weight, bias, eps_); }
  void visit(Visitor& v) override {
    v("weight", weight);
    v("bias", bias);
  }

  float eps() const { return eps_; }

  mx::array weight, bias;  // [dim]

 private:
  float eps_;
};

}  // namespace m2bert::nn
