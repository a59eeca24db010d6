#pragma once
#include <optional>

#include "m2bert/nn/init.h"
#include "m2bert/nn/module.h"
#include "m2bert/ops/quantized.h"

namespace m2bert::nn {

// Looks up rows of a table. The row of the padding index, if there is one, gets no gradient from look-ups (torch's padding_idx).
class Embedding : public Module {
 public:
  Embedding(int count, int dim, int padding_idx = -1) : weight(mx::zeros({count, dim})), padding_idx_(padding_idx) {}
  mx::array operator()(const mx::array& ids) const;  // ids [...] int32 -> [..., dim]; float32 if the rows are int8
  void visit(Visitor& v) override;
  void init_normal(float deviation, KeySequence& keys);  // N(0, deviation); the padding row is 0

  ops::Weight matrix() const { return {weight, weight_scale}; }

  mx::array weight;                       // [count, dim]
  std::optional<mx::array> weight_scale;  // [count], for int8 rows (ops/quantized.h): their values are weight * weight_scale

 private:
  int padding_idx_;
};

}  // namespace m2bert::nn
