#pragma once
#include <optional>

#include "m2bert/nn/init.h"
#include "m2bert/nn/module.h"
#include "m2bert/ops/quantized.h"

namespace m2bert::nn {

// A linear layer whose matrix is block diagonal: nblocks times fewer weights and products. Source: BlockdiagLinear of the reference.
// Sizes that nblocks does not divide are padded up with zeros on the way in and cut on the way out.
// With `shuffle`, the padded columns change places first, so that each block sees some of every block's: column g c_per_block + c goes to
// c nblocks + g.
class BlockdiagLinear : public Module {
 public:
  BlockdiagLinear(int in, int out, int nblocks, bool with_bias = true, bool shuffle = false);
  mx::array operator()(const mx::array& x) const;  // [..., in] -> [..., out]
  void visit(Visitor& v) override;
  void init(KeySequence& keys);  // the reference's: as a dense Kaiming-uniform matrix, scaled by sqrt(nblocks); bias in +-1/sqrt(out)

  ops::Weight matrix() const { return {weight, weight_scale}; }
  // Whether the blocks fill the layer, without padding and shuffling.
  bool is_plain() const;

  mx::array weight;                       // [nblocks, ceil(out/nblocks), ceil(in/nblocks)]
  std::optional<mx::array> weight_scale;  // [nblocks * ceil(out/nblocks)], of int8 weights (ops/quantized.h)
  std::optional<mx::array> bias;          // [out]

 private:
  int in_, out_;
  bool shuffle_;
};

}  // namespace m2bert::nn
