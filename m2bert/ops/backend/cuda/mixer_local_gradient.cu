// The gradient of the Monarch Mixer's core through its gate, its product and the short convolution, channel-major, bfloat16.
//
// Forward: (x1, x2, v) are short convolutions of three rows, s = x1 v goes into the long convolution, and x2 gates its result.
// A thread does 8 positions of a sequence; a block adds up the short filter's gradient of its part of a channel.
#include "m2bert/ops/backend/cuda/mixer_positions.cuh"

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

// Positions and, in lane 31, the two behind them.
struct Around {
  Positions own;
  uint32_t after = 0;
};
template <bool WIDE>
__device__ __forceinline__ Around load_around(const BFloat16* row, const Place& place, int t0) {
  Around a{load_positions<WIDE>(row, place, t0)};
  if (threadIdx.x % 32 == 31) a.after = load_pair(row + place.offset, t0 + POSITIONS, place.length);
  return a;
}
// Positions t0 - 2 ... t0 + POSITIONS + 1; *before (null: 0) in front of the sequence, zeros behind it. For all lanes of a warp.
__device__ __forceinline__ void unpack_around(const Around& a, const Place& place, int t0, const float* before, float* x) {
  const uint32_t last = __shfl_up_sync(~0u, a.own.words[3], 1), next = __shfl_down_sync(~0u, a.own.words[0], 1);
  const int lane = threadIdx.x % 32;
  const uint32_t left = lane ? last : a.own.before, right = lane == 31 ? a.after : next;
  x[0] = low_bf16(left), x[1] = high_bf16(left);
  unpack_positions(a.own.words, x + 2);
  x[POSITIONS + 2] = low_bf16(right), x[POSITIONS + 3] = high_bf16(right);
  if (t0 == 0) x[0] = x[1] = before ? *before : 0.0f;
  if (t0 + POSITIONS + 2 <= place.length) return;
#pragma unroll
  for (int i = 0; i < POSITIONS + 4; ++i) x[i] = t0 - 2 + i < place.length ? x[i] : 0.0f;
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

// x1 v and then x2 dy, after the short convolutions: out [2 H, columns].
struct GatedRows {
  const BFloat16* dy;
  BFloat16* out;
};

template <bool GATED_ROWS>
__device__ __forceinline__ void local_gradient(const BFloat16* projected, const BFloat16* dx2, const BFloat16* ds,
                                               const float* short_filter, const int* sequences, const GatedRows& gated,
                                               BFloat16* dprojected, float* sums, int H, int B, int L, int columns) {
  M2BERT_SHARED_MEMORY(shared_memory);
  float* const partial = reinterpret_cast<float*>(shared_memory);  // [warps][3 SUMS]
  const auto in = mixer_inputs(projected, projected, projected, dx2, short_filter, sequences, H, B, L, 0, 0, 0, 0, 0, 0, columns);
  const MixerChannel channel{in, int(blockIdx.y)};
  const int h = channel.channel, chunks = (L + POSITIONS - 1) / POSITIONS, items = columns ? columns / POSITIONS : B * chunks;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  auto filter = [&](int i) { return short_filter + SHORT_FILTER * (i * H + h); };
  auto row = [&](int i) { return projected + size_t(i) * H * in.columns; };  // x1, x2 or v, of channel 0
  auto gradient_row = [&](int i) { return dprojected + size_t(i) * H * in.columns; };
  float own[3][SUMS] = {};
  for (int first = blockIdx.x * LOCAL_THREADS + warp * 32; first < items; first += gridDim.x * LOCAL_THREADS) {
    const int item = first + lane, b = item >= items ? B : columns ? sequence_of(in, item * POSITIONS) : item / chunks;
    const Place place = channel.place(b);
    const int t0 = b == B ? 0 : columns ? item * POSITIONS - in.begin(b) : item % chunks * POSITIONS;
    Around around[5];  // dx2, x2, ds, x1, v
    SignalPositions dy;
    load_first(channel.wide(), [&](auto wide) {
      constexpr bool WIDE = decltype(wide)::value;
      const BFloat16* rows[5] = {dx2, row(1), ds, row(0), row(2)};
#pragma unroll
      for (int i = 0; i < 5; ++i) around[i] = load_around<WIDE>(rows[i], place, t0);
      if (GATED_ROWS) dy = channel.load_row<WIDE>(gated.dy, place, t0);
    });
    float x[POSITIONS + 4], v[POSITIONS + 4], d[POSITIONS + 4], local[POSITIONS + 2], gradient[POSITIONS + 2], out[POSITIONS];
    unpack_around(around[0], place, t0, nullptr, d);
    unpack_around(around[1], place, t0, filter(1) + 4, x);
    convolve_back(x, filter(1), d + 2, t0, out, own[1]);
    channel.store<false>(place, t0, out, gradient_row(1));
    if (GATED_ROWS) {
      convolve(x, filter(1), local);
      unpack_positions(dy.a.words, out);
#pragma unroll
      for (int i = 0; i < POSITIONS; ++i) out[i] *= local[i];
      channel.store<false>(place, t0, out, gated.out + size_t(H) * in.columns);
    }
    unpack_around(around[2], place, t0, nullptr, d);
    unpack_around(around[3], place, t0, filter(0) + 4, x);
    unpack_around(around[4], place, t0, filter(2) + 4, v);
    convolve(v, filter(2), local);
#pragma unroll
    for (int i = 0; i < POSITIONS + 2; ++i) gradient[i] = d[i + 2] * local[i];
    convolve_back(x, filter(0), gradient, t0, out, own[0]);
    channel.store<false>(place, t0, out, gradient_row(0));
    float signal[POSITIONS];
#pragma unroll
    for (int i = 0; i < POSITIONS; ++i) signal[i] = local[i];
    convolve(x, filter(0), local);
    if (GATED_ROWS) {
#pragma unroll
      for (int i = 0; i < POSITIONS; ++i) signal[i] *= local[i];
      channel.store<false>(place, t0, signal, gated.out);
    }
#pragma unroll
    for (int i = 0; i < POSITIONS + 2; ++i) gradient[i] = d[i + 2] * local[i];
    convolve_back(v, filter(2), gradient, t0, out, own[2]);
    channel.store<false>(place, t0, out, gradient_row(2));
  }
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

}  // namespace

// Grid: parts of a channel, channels. projected, dprojected [3 H, columns]: x1, x2, v; dx2, ds [H, columns]: gradients of x2 and of s,
// after the short convolution; sums [parts, 3 H, SHORT_FILTER]. Sequences of different lengths begin at multiples of POSITIONS.
extern "C" __global__ void __launch_bounds__(256, 2)
    mixer_local_gradient(const BFloat16* projected, const BFloat16* dx2, const BFloat16* ds, const float* short_filter,
                         const int* sequences, BFloat16* dprojected, float* sums, int H, int B, int L, int columns) {
  local_gradient<false>(projected, dx2, ds, short_filter, sequences, {}, dprojected, sums, H, B, L, columns);
}

// Also writes x1 v and x2 dy, which the filters' gradient of long sequences reads instead of computing them in each group.
extern "C" __global__ void __launch_bounds__(256, 2)
    mixer_local_gradient_gated_rows(const BFloat16* projected, const BFloat16* dx2, const BFloat16* ds, const float* short_filter,
                                    const BFloat16* dy, const int* sequences, BFloat16* dprojected, float* sums, BFloat16* gated_rows,
                                    int H, int B, int L, int columns) {
  local_gradient<true>(projected, dx2, ds, short_filter, sequences, {dy, gated_rows}, dprojected, sums, H, B, L, columns);
}

}  // namespace m2bert::ops::cuda
