#pragma once
// The two products of a channel mixer with the activation between them, for training: forward, which keeps the first product's result, and
// backward. Host memory only, no MLX. T: float, or uint16_t for bfloat16.
#include <cstdint>

#include "m2bert/ops/backend/cpu/simd/gate_simd.h"

namespace m2bert::ops::cpu {

// up: nb blocks [up_q, H/nb], down: nb blocks [H/nb, I/nb]; up_q is I/nb, or twice that with a gate.
struct FeedForwardSizes {
  int64_t rows;
  int nb, hidden, intermediate;
  bool gated;

  int in() const { return hidden / nb; }  // of a block of up; of down it is the output
  int width() const { return intermediate / nb; }
  int up_q() const { return width() * (gated ? 2 : 1); }
};

template <class T>
struct FeedForwardParts {
  T* x;          // [rows, H]
  T* up;         // [nb, up_q, H/nb]
  T* up_bias;    // [nb * up_q] or null
  T* down;       // [nb, H/nb, I/nb]
  T* down_bias;  // [H] or null
};

// y [rows, H] = down(dropout(act(up(x)))); h, for the backward pass: the result of up, block by block, [nb][rows][up_q].
template <class T>
void feed_forward_products(const FeedForwardSizes& sizes, Activation activation, TileDropout dropout, const FeedForwardParts<const T>& in,
                           T* y, T* h, int threads);

// The gradients of sum(y * dy), in the shapes of what they belong to; null where there is no bias.
template <class T>
void feed_forward_gradients(const FeedForwardSizes& sizes, Activation activation, TileDropout dropout, const FeedForwardParts<const T>& in,
                            const T* h, const T* dy, const FeedForwardParts<T>& to, int threads);

}  // namespace m2bert::ops::cpu
