// The gradient of the Monarch Mixer's core through its gate, its product and the short convolution, channel-major, bfloat16.
//
// Forward: (x1, x2, v) are short convolutions of three rows, s = x1 v goes into the long convolution, and x2 gates its result.
// A thread does 8 positions of a sequence; a block adds up the short filter's gradient of its part of a channel.
#include "m2bert/ops/backend/cuda/mixer_inputs.cuh"
#include "m2bert/ops/backend/cuda/mixer_rows.cuh"
#include "m2bert/ops/backend/cuda/tensor_core.cuh"

namespace m2bert::ops::cuda {

namespace {

constexpr int POSITIONS = 8, LOCAL_THREADS = 256,
              SUMS = 5;  // of a row of the short filter: three taps, the bias, what is before position 0

// The one that has a column, or the unused ones behind it.
__device__ __forceinline__ int sequence_of(const MixerInputs<BFloat16>& in, int column) {
  int b = 0;
  for (int end = in.B; end - b > 1;) {
    const int middle = (b + end) / 2;
    (in.begin(middle) <= column ? b : end) = middle;
  }
  return b;
}

// Positions t0 - 2 ... t0 + POSITIONS + 1 of a row; zeros from `length` on.
__device__ __forceinline__ void load_around(const BFloat16* row, int t0, int length, bool wide, const float* before, float* x) {
  load_positions<POSITIONS>(row, t0, length, wide, before, x);
#pragma unroll
  for (int i = 0; i < 2; ++i) x[POSITIONS + 2 + i] = t0 + POSITIONS + i < length ? to_float(row[t0 + POSITIONS + i]) : 0.0f;
}

// The short convolution at t0 ... t0 + POSITIONS + 1, from positions around them.
__device__ __forceinline__ void convolve(const float* x, const float* w, float* y) {
#pragma unroll
  for (int i = 0; i < POSITIONS + 2; ++i) y[i] = w[0] * x[i] + (w[1] * x[i + 1] + (w[2] * x[i + 2] + w[3]));
}

// The gradient of a row, from that of its short convolution at t0 ... t0 + POSITIONS + 1; adds up that of its filter.
__device__ __forceinline__ void convolve_back(const float* x, const float* w, const float* d, int t0, float* dx, float* sums) {
#pragma unroll
  for (int i = 0; i < POSITIONS; ++i) {
    dx[i] = w[2] * d[i] + w[1] * d[i + 1] + w[0] * d[i + 2];
    sums[0] += d[i] * x[i], sums[1] += d[i] * x[i + 1], sums[2] += d[i] * x[i + 2], sums[3] += d[i];
  }
  if (t0 == 0) sums[4] += d[0] * (w[0] + w[1]) + d[1] * w[0];
}

}  // namespace

// Grid: parts of a channel, channels. projected, dprojected [3 H, columns]: x1, x2, v; dx2, ds [H, columns]: gradients of x2 and of s,
// after the short convolution; sums [parts, 3 H, SHORT_FILTER]. Sequences of different lengths begin at multiples of POSITIONS.
extern "C" __global__ void __launch_bounds__(256, 2)
    mixer_local_gradient(const BFloat16* projected, const BFloat16* dx2, const BFloat16* ds, const float* short_filter,
                         const int* sequences, BFloat16* dprojected, float* sums, int H, int B, int L, int columns) {
  M2BERT_SHARED_MEMORY(shared_memory);
  float* const partial = reinterpret_cast<float*>(shared_memory);  // [warps][3 SUMS]
  const auto in = mixer_inputs(projected, projected, projected, dx2, short_filter, sequences, H, B, L, 0, 0, 0, 0, 0, 0, columns);
  const int h = blockIdx.y, chunks = (L + POSITIONS - 1) / POSITIONS, items = columns ? columns / POSITIONS : B * chunks;
  float own[3][SUMS] = {};
  for (int item = blockIdx.x * LOCAL_THREADS + threadIdx.x; item < items; item += gridDim.x * LOCAL_THREADS) {
    const int b = columns ? sequence_of(in, item * POSITIONS) : item / chunks;
    const int t0 = columns ? item * POSITIONS - in.begin(b) : item % chunks * POSITIONS, n = in.length(b), extent = in.extent(b);
    const bool wide = in.is_multiple_of(POSITIONS, b);
    auto row = [&](int i) { return in.row(i * H + h, b); };
    auto filter = [&](int i) { return short_filter + SHORT_FILTER * (i * H + h); };
    float x[POSITIONS + 4], v[POSITIONS + 4], d[POSITIONS + 4], local[POSITIONS + 2], gradient[POSITIONS + 2], out[POSITIONS];
    load_around(dx2 + row(0), t0, n, wide, nullptr, d);
    load_around(projected + row(1), t0, n, wide, filter(1) + 4, x);
    convolve_back(x, filter(1), d + 2, t0, out, own[1]);
    store_positions<POSITIONS>(dprojected + row(1), t0, extent, wide, out);
    load_around(ds + row(0), t0, n, wide, nullptr, d);
    load_around(projected + row(0), t0, n, wide, filter(0) + 4, x);
    load_around(projected + row(2), t0, n, wide, filter(2) + 4, v);
    convolve(v, filter(2), local);
#pragma unroll
    for (int i = 0; i < POSITIONS + 2; ++i) gradient[i] = d[i + 2] * local[i];
    convolve_back(x, filter(0), gradient, t0, out, own[0]);
    store_positions<POSITIONS>(dprojected + row(0), t0, extent, wide, out);
    convolve(x, filter(0), local);
#pragma unroll
    for (int i = 0; i < POSITIONS + 2; ++i) gradient[i] = d[i + 2] * local[i];
    convolve_back(v, filter(2), gradient, t0, out, own[2]);
    store_positions<POSITIONS>(dprojected + row(2), t0, extent, wide, out);
  }
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < 3 * SUMS; ++i) {
    const float sum = warp_sum(own[i / SUMS][i % SUMS]);
    if (lane == 0) partial[warp * 3 * SUMS + i] = sum;
  }
  __syncthreads();
  if (threadIdx.x >= 3 * SHORT_FILTER) return;
  const int i = threadIdx.x / SHORT_FILTER, j = threadIdx.x % SHORT_FILTER;
  float sum = 0;
  for (int k = 0; k < LOCAL_THREADS / 32 && j < SUMS; ++k) sum += partial[k * 3 * SUMS + i * SUMS + j];
  sums[(size_t(blockIdx.x) * 3 * H + i * H + h) * SHORT_FILTER + j] = sum;
}

}  // namespace m2bert::ops::cuda
