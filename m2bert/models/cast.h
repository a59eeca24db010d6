#pragma once
// The dtype of a model's weights.
#include <vector>

#include "m2bert/models/model.h"

namespace m2bert::models {

// The dtypes other than float32 in which a device multiplies matrices.
struct NarrowGemms {
  bool bfloat16, int8;
};
// Of the default device. A GPU has both.
NarrowGemms narrow_gemms();

// Casts a float32 model's weights to `dtype`: float32, bfloat16, float16 or int8 (see int8_checkpoint_dtype in checkpoint/quantize.h).
// Weights of an int8 file that are not int8 there are first dequantized. The filters of the long convolution stay float32. On a CPU without
// GEMM of that dtype the weights are rounded to it and stored as float32; the result is then true. `gemms` of another processor give the
// numbers of that processor, but slowly, and the model must not be packed.
bool cast_weights(Model& model, mx::Dtype dtype, NarrowGemms gemms = narrow_gemms());

// The weights that bfloat16 and float16 apply to: floating-point parameters, without the filters of the long convolution.
std::vector<nn::NamedArray> castable_weights(Model& model);

// A model's weights in another floating dtype while the scope lives; the end of the scope puts the original arrays back.
class ScopedCast {
 public:
  ScopedCast(Model& model, mx::Dtype dtype);
  ~ScopedCast();
  ScopedCast(const ScopedCast&) = delete;
  ScopedCast& operator=(const ScopedCast&) = delete;

 private:
  void restore();

  std::vector<nn::NamedArray> weights_;
  nn::Arrays originals_;
};

}  // namespace m2bert::models
