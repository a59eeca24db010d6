#pragma once
// Activation, gate and dropout between the two matmuls of a feed-forward block, forward and backward, for training. Host memory only;
// thread-safe. Widths and first columns are multiples of 16. T: float, or uint16_t for bfloat16.
#include <cstdint>

#include "m2bert/ops/activation_kind.h"

namespace m2bert::ops::cpu {

// The dropout of dropout_simd.h for activations [rows, columns], restricted to a tile that starts at column `first`. threshold 0: no
// dropout.
struct TileDropout {
  uint32_t key[2] = {0, 0};
  uint32_t threshold = 0;
  float scale = 1;
  int64_t columns = 0, first = 0;
};

// Columns of the first matmul's result: values, and gates or null. Rows are `stride` apart in both.
template <class T>
struct GateTile {
  T *value, *gate;
  int64_t stride;
};

// Whether the functions below have this activation.
inline bool gated_activation_supports(Activation activation) {
  return activation == Activation::gelu || activation == Activation::gelu_tanh;
}

// a [rows, width] = dropout(activation(value) * gate), dense.
template <class T>
void gated_activation_forward(Activation activation, const GateTile<const T>& h, const TileDropout& dropout, int64_t rows, int width, T* a,
                              int threads);

// The same a, recomputed, and the gradients dh of values and gates from da [rows, width], the gradient of a.
template <class T>
void gated_activation_backward(Activation activation, const GateTile<const T>& h, const TileDropout& dropout, const T* da, int64_t rows,
                               int width, T* a, const GateTile<T>& dh, int threads);

}  // namespace m2bert::ops::cpu
