#pragma once
#include <optional>

#include "m2bert/nn/init.h"
#include "m2bert/nn/module.h"
#include "m2bert/ops/quantized.h"

namespace m2bert::nn {

// A linear layer whose matrix is block diagonal, with nblocks times fewer weights and multiplications. Source: upstream's BlockdiagLinear.
// If nblocks does not divide a size, the input is zero-padded and the output truncated.
// With `shuffle`, the padded columns are permuted first, so that each block sees columns from every block: column g c_per_block + c moves
// to c nblocks + g.
class BlockdiagLinear : public Module {
 public:
  BlockdiagLinear(int in, int out, int nblocks, bool with_bias = true, bool shuffle = false);
  mx::array operator()(const mx::array& x) const;  // [..., in] -> [..., out]
  void visit(Visitor& v) override;
  void init(KeySequence& keys);  // as upstream: dense Kaiming-uniform, scaled by sqrt(nblocks); bias in +-1/sqrt(out)

  ops::Weight matrix() const { return {weight, weight_scale}; }
  // Whether the layer has neither padding nor shuffling.
  bool is_plain() const;

  mx::array weight;                       // [nblocks, ceil(out/nblocks), ceil(in/nblocks)]
  std::optional<mx::array> weight_scale;  // [nblocks * ceil(out/nblocks)], for int8 weights (ops/quantized.h)
  std::optional<mx::array> bias;          // [out]

 private:
  int in_, out_;
  bool shuffle_;
};

}  // namespace m2bert::nn
