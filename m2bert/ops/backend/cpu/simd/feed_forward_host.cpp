#include "m2bert/ops/backend/cpu/simd/feed_forward_host.h"

#include "m2bert/ops/backend/cpu/simd/blockdiag_gemm_host.h"
#include "m2bert/ops/backend/cpu/simd/column_sum_simd.h"
#include "m2bert/ops/backend/cpu/simd/scratch.h"

namespace m2bert::ops::cpu {

namespace {

// The values and gates of the activations that block j of down reads.
template <class T>
GateTile<T> gate_tile(const FeedForwardSizes& s, T* h, int j) {
  auto columns = [&](int64_t first) {  // in the result of up
    const int64_t block = first / s.up_q();
    return h + block * s.rows * s.up_q() + first % s.up_q();
  };
  const int64_t first = int64_t(j) * s.width();
  return {columns(first), s.gated ? columns(s.intermediate + first) : nullptr, s.up_q()};
}

TileDropout dropout_of_block(TileDropout dropout, const FeedForwardSizes& s, int j) {
  dropout.columns = s.intermediate;
  dropout.first = int64_t(j) * s.width();
  return dropout;
}

// Block k of the columns of x [rows, H], dense: x itself if there is one block, else a copy in `memory`.
template <class T>
const T* block_of(const FeedForwardSizes& s, const T* x, int k, Scratch& memory, int threads) {
  if (s.nb == 1) return x;
  T* dense = memory.of<T>(size_t(s.rows) * size_t(s.in()));
  gather_columns(x, size_t(s.hidden) * sizeof(T), size_t(k) * size_t(s.in()) * sizeof(T), size_t(s.in()) * sizeof(T), s.rows, dense,
                 threads);
  return dense;
}

// Where a matmul writes a block of y [rows, H], and the copy of that block to y.
template <class T>
T* block_to_write(const FeedForwardSizes& s, T* y, Scratch& memory) {
  return s.nb == 1 ? y : memory.of<T>(size_t(s.rows) * size_t(s.in()));
}
template <class T>
void write_block(const FeedForwardSizes& s, const T* block, int k, T* y, int threads) {
  if (block == y) return;
  scatter_columns(block, size_t(s.hidden) * sizeof(T), size_t(k) * size_t(s.in()) * sizeof(T), size_t(s.in()) * sizeof(T), s.rows, y,
                  threads);
}

}  // namespace

template <class T>
void feed_forward_forward(const FeedForwardSizes& s, Activation activation, TileDropout dropout, const FeedForwardTensors<const T>& in,
                          T* y, T* h, int threads) {
  constexpr HostDtype dtype = dtype_of<T>;
  const int64_t M = s.rows, p = s.in(), q = s.up_q(), w = s.width();
  Scratch dense, activations, outputs;
  for (int k = 0; k < s.nb; ++k) {
    const T* x = block_of(s, in.x, k, dense, threads);
    matmul(dtype, {x, M, p}, {in.up + k * q * p, p, q, true}, in.up_bias ? in.up_bias + k * q : nullptr, h + k * M * q);
  }
  T* a = activations.of<T>(size_t(M * w));
  T* out = block_to_write(s, y, outputs);
  for (int j = 0; j < s.nb; ++j) {
    gated_activation_forward<T>(activation, gate_tile<const T>(s, h, j), dropout_of_block(dropout, s, j), M, int(w), a, threads);
    matmul(dtype, {a, M, w}, {in.down + j * p * w, w, p, true}, in.down_bias ? in.down_bias + j * p : nullptr, out);
    write_block(s, out, j, y, threads);
  }
}

template <class T>
void feed_forward_backward(const FeedForwardSizes& s, Activation activation, TileDropout dropout, const FeedForwardTensors<const T>& in,
                           const T* h, const T* dy, const FeedForwardTensors<T>& to, int threads) {
  constexpr HostDtype dtype = dtype_of<T>;
  const int64_t M = s.rows, p = s.in(), q = s.up_q(), w = s.width();
  Scratch dense, activations, cotangents, inner, outputs;
  T* a = activations.of<T>(size_t(M * w));
  T* da = cotangents.of<T>(size_t(M * w));
  T* dh = inner.of<T>(size_t(M * q) * size_t(s.nb));
  for (int j = 0; j < s.nb; ++j) {
    const T* dyj = block_of(s, dy, j, dense, threads);
    matmul(dtype, {dyj, M, p}, {in.down + j * p * w, p, w}, nullptr, da);
    gated_activation_backward<T>(activation, gate_tile<const T>(s, h, j), dropout_of_block(dropout, s, j), da, M, int(w), a,
                                 gate_tile<T>(s, dh, j), threads);
    matmul(dtype, {dyj, p, M, true}, {a, M, w}, nullptr, to.down + j * p * w);
  }
  if (to.down_bias) column_sums(dy, M, s.hidden, to.down_bias, threads);
  T* dx = block_to_write(s, to.x, outputs);
  for (int k = 0; k < s.nb; ++k) {
    const T *x = block_of(s, in.x, k, dense, threads), *dhk = dh + k * M * q;
    matmul(dtype, {dhk, M, q}, {in.up + k * q * p, q, p}, nullptr, dx);
    write_block(s, dx, k, to.x, threads);
    matmul(dtype, {dhk, q, M, true}, {x, M, p}, nullptr, to.up + k * q * p);
    if (to.up_bias) column_sums(dhk, M, q, to.up_bias + k * q, threads);
  }
}

template void feed_forward_forward(const FeedForwardSizes&, Activation, TileDropout, const FeedForwardTensors<const float>&, float*, float*,
                                   int);
template void feed_forward_forward(const FeedForwardSizes&, Activation, TileDropout, const FeedForwardTensors<const uint16_t>&, uint16_t*,
                                   uint16_t*, int);
template void feed_forward_backward(const FeedForwardSizes&, Activation, TileDropout, const FeedForwardTensors<const float>&, const float*,
                                    const float*, const FeedForwardTensors<float>&, int);
template void feed_forward_backward(const FeedForwardSizes&, Activation, TileDropout, const FeedForwardTensors<const uint16_t>&,
                                    const uint16_t*, const uint16_t*, const FeedForwardTensors<uint16_t>&, int);

}  // namespace m2bert::ops::cpu
