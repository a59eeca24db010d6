#pragma once
// Activation, gate and dropout between the two products of a channel mixer, forward and backward: host memory only, no MLX. Widths and
// places are multiples of 16. T: float, or uint16_t for bfloat16.
#include <cstdint>

#include "m2bert/ops/activation_kind.h"

namespace m2bert::ops::cpu {

// Dropout of activations [rows, columns] as dropout_simd.h has it, of which a tile begins at column `first`. threshold 0: none.
struct TileDropout {
  uint32_t key[2] = {0, 0};
  uint32_t threshold = 0;
  float scale = 1;
  int64_t columns = 0, first = 0;
};

// Columns of the first product: values and gates (or null), rows `stride` apart in both.
template <class T>
struct GateTile {
  T *value, *gate;
  int64_t stride;
};

inline bool gate_takes(Activation activation) { return activation == Activation::gelu || activation == Activation::gelu_tanh; }

// a = dropout(activation(value) * gate), rows of a dense.
template <class T>
void gate_forward(Activation activation, const GateTile<const T>& h, const TileDropout& dropout, int64_t rows, int width, T* a,
                  int threads);

// The same a, and from its cotangent da, dense, the gradients of values and gates.
template <class T>
void gate_backward(Activation activation, const GateTile<const T>& h, const TileDropout& dropout, const T* da, int64_t rows, int width,
                   T* a, const GateTile<T>& dh, int threads);

}  // namespace m2bert::ops::cpu
