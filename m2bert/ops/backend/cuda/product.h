#pragma once
// Products of a weight and channel-major activations.
#include <optional>

#include "m2bert/mx.h"

namespace m2bert::ops::cuda {

// weight x for a dense or block-diagonal weight ([nb, q, p]) and x [in, positions], bfloat16 or float32. For few positions by a kernel
// where there is one: MLX's call of cuBLASLt costs the host more than such a product the GPU. No gradients.
mx::array product(const mx::array& weight, const mx::array& x, mx::Stream s);
// The kernel alone: small_product.cu. nullopt if it does not support the shapes or the dtype.
std::optional<mx::array> small_product(const mx::array& weight, const mx::array& x, mx::Stream s);

}  // namespace m2bert::ops::cuda
