#pragma once
// The two matmuls of a feed-forward block (channel mixer) with the activation between them, for training: forward, which keeps the first
// matmul's result, and backward. Host memory only. T: float, or uint16_t for bfloat16.
#include <cstdint>

#include "m2bert/ops/backend/cpu/simd/gated_activation_simd.h"

namespace m2bert::ops::cpu {

// up: nb blocks [up_q, H/nb], down: nb blocks [H/nb, I/nb]; up_q is I/nb, or 2 I/nb with a gate.
struct FeedForwardSizes {
  int64_t rows;
  int nb, hidden, intermediate;
  bool gated;

  int in() const { return hidden / nb; }           // inputs of a block of up, outputs of one of down
  int width() const { return intermediate / nb; }  // inputs of a block of down
  int up_q() const { return width() * (gated ? 2 : 1); }
};

// The inputs, or their gradients.
template <class T>
struct FeedForwardTensors {
  T* x;          // [rows, H]
  T* up;         // [nb, up_q, H/nb]
  T* up_bias;    // [nb * up_q] or null
  T* down;       // [nb, H/nb, I/nb]
  T* down_bias;  // [H] or null
};

// y [rows, H] = down(dropout(act(up(x)))). h [nb, rows, up_q]: the result of up, block by block, for the backward pass. Only the
// activations for which gated_activation_supports() is true.
template <class T>
void feed_forward_forward(const FeedForwardSizes& sizes, Activation activation, TileDropout dropout, const FeedForwardTensors<const T>& in,
                          T* y, T* h, int threads);

// The gradients of sum(y * dy), in the shapes of what they belong to; those of absent biases are null.
template <class T>
void feed_forward_backward(const FeedForwardSizes& sizes, Activation activation, TileDropout dropout, const FeedForwardTensors<const T>& in,
                           const T* h, const T* dy, const FeedForwardTensors<T>& to, int threads);

}  // namespace m2bert::ops::cpu
