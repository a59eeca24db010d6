// The Monarch Mixer's core for a few short sequences, bfloat16: short convolution, gates, and both long convolutions as products with
// Toeplitz matrices on tensor cores. mixer_toeplitz_batch.cu does many at once.
//
// Output 8 g + n of a tile of 128 is row g, column n of a matrix product over c: row g of the left matrix is the signal from position 8 g
// on (the rows overlap, so ldmatrix reads them from one copy at a pitch of 8), and element (c, n) of the right matrix is tap n - c. A warp
// does one channel of one sequence.
#include "m2bert/ops/backend/cuda/mixer_positions.cuh"
#include "m2bert/ops/backend/cuda/mixer_toeplitz.cuh"

namespace m2bert::ops::cuda {

namespace {

// Lengths up to 128 TILES.
template <int TILES>
struct Toeplitz {
  static constexpr int LENGTH = 128 * TILES, WORDS = 2 * TILES;  // words (of two positions) that a lane holds: 64 i + 2 lane
  static constexpr int TAPS = tap_count(LENGTH), ORIGIN = tap_origin(LENGTH);
  static constexpr ToeplitzSizes SIZES{LENGTH};
  static constexpr int SIGNAL = SIZES.signal(), WARPS = SIZES.WARPS;

  struct Shared {
    alignas(16) BFloat16 taps[2][2][TAPS];  // filter; copy
    alignas(16) uint32_t signals[WARPS][2][SIGNAL];
  };
  static_assert(sizeof(Shared) == SIZES.shared_bytes());

  // A row of bfloat16 from `row` on, as words; zeros from `length` on, if the row is not even one position later. In an even row nothing
  // here waits for what is loaded.
  static __device__ __forceinline__ void fetch(const BFloat16* row, int lane, int length, bool even, uint32_t* words) {
#pragma unroll
    for (int i = 0; i < WORDS; ++i) {
      const int t = 64 * i + 2 * lane;
      words[i] = 0;
      if (even) {
        if (t < length) words[i] = *reinterpret_cast<const uint32_t*>(row + t);
      } else {
        words[i] = load_pair(row, t, length);
      }
    }
  }

  // The convolution with three taps at this lane's positions, float.
  static __device__ __forceinline__ void short_convolution(const uint32_t* words, const float4& w, uint32_t before_row, int lane,
                                                           float* out) {
    uint32_t carry = before_row;
#pragma unroll
    for (int i = 0; i < WORDS; ++i) {
      uint32_t before = __shfl_up_sync(~0u, words[i], 1);
      if (lane == 0) before = carry;
      carry = __shfl_sync(~0u, words[i], 31);
      out[2 * i] = w.x * low_bf16(before) + (w.y * high_bf16(before) + (w.z * low_bf16(words[i]) + w.w));
      out[2 * i + 1] = w.x * high_bf16(before) + (w.y * low_bf16(words[i]) + (w.z * high_bf16(words[i]) + w.w));
    }
  }

  // Fragment s of the taps: rows 16 s ... 16 s + 15 of the right matrix.
  static __device__ __forceinline__ uint2 tap_fragment(const BFloat16 (*taps)[TAPS], int lane, int s) {
    const int n = lane / 4, begin = ORIGIN - n + 2 * (lane % 4) + (n & 1);
    const uint32_t* words = reinterpret_cast<const uint32_t*>(taps[n & 1]) + begin / 2;
    return {words[8 * s], words[8 * s + 4]};
  }

  template <typename Taps>
  static __device__ __forceinline__ void convolve(const uint32_t* signal, Taps taps, int lane, float (*c)[4]) {
    // matrix[o + 8]: rows 8 (o + g) + (0 ... 7), g < 8; those outside are zero.
    uint32_t matrix[16 * TILES + 8];
#pragma unroll
    for (int i = 0; i < 4 * TILES + 2; ++i) {
      // Lane l gives the address of row l % 8 of matrix 4 i + l / 8: rows of the next matrix begin one row later.
      load_matrices(matrix + 4 * i, signal + (4 * i + lane / 8 + lane % 8) * 4);
    }
    auto at = [&](int o) { return o >= -8 && o < 16 * TILES ? matrix[o + 8] : 0u; };
#pragma unroll
    for (int s = -8 * TILES; s < 8 * TILES; ++s) {
      const uint2 b = taps(s);
#pragma unroll
      for (int j = 0; j < TILES; ++j) {
        const int o = 16 * j + 2 * s;
        if (s < -8 * (j + 1) || s >= 8 * (TILES - j)) continue;
        const uint32_t left[4] = {at(o), at(o + 8), at(o + 1), at(o + 9)};
        mma_bf16(c[j], left, b.x, b.y);
      }
    }
  }

  static __device__ __forceinline__ void run(const MixerInputs<BFloat16>& in, const BFloat16* taps, const float* D, BFloat16* y,
                                             bool residual, int which) {
    M2BERT_SHARED_MEMORY(shared_memory);
    if (int(blockIdx.y) >= in.H) return fill_bias_row(in, blockIdx.y, blockIdx.x * WARPS * 32 + threadIdx.x, gridDim.x * WARPS * 32, y);
    Shared& shared = *reinterpret_cast<Shared*>(shared_memory);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, h = blockIdx.y;
    for (int i = threadIdx.x; i < int(sizeof shared.taps / 16); i += WARPS * 32) {
      reinterpret_cast<uint4*>(shared.taps)[i] = reinterpret_cast<const uint4*>(taps + size_t(h) * 4 * TAPS)[i];
    }
    uint32_t* gated_signal = shared.signals[warp][0];
    uint32_t* plain_signal = shared.signals[warp][1];
    for (int i = lane; i < 32; i += 32) {
      gated_signal[i] = plain_signal[i] = 0;
      gated_signal[SIGNAL - 32 + i] = plain_signal[SIGNAL - 32 + i] = 0;
    }
    __syncthreads();
    auto filter = [&](int signal) { return [&, f = signal ^ which](int s) { return tap_fragment(shared.taps[f], lane, s); }; };
    const float4* w = reinterpret_cast<const float4*>(in.short_filter);
    const int c1 = in.x1_taps + h, c2 = in.x2_taps + h, cv = in.v_taps + h;
    const float4 w1 = w[2 * c1], w2 = w[2 * c2], wv = w[2 * cv];
    auto before = [&](int c) { return pack_bf16(in.short_filter[SHORT_FILTER * c + 4], in.short_filter[SHORT_FILTER * c + 4]); };
    const uint32_t before1 = before(c1), before2 = before(c2), before_v = before(cv);
    const float D1 = D[2 * h + which], D2 = D[2 * h + (1 ^ which)];

    const int b = blockIdx.x * WARPS + warp;
    if (b >= in.B) return;
    const int length = in.length(b), extent = in.extent(b);
    const bool even = in.is_multiple_of(2, b);
    const size_t row = in.row(h, b);
    uint32_t x1[WORDS], x2[WORDS], v[WORDS], u[WORDS];
    fetch(in.x1 + row, lane, length, even, x1);
    fetch(in.x2 + row, lane, length, even, x2);
    fetch(in.v + row, lane, length, even, v);
    fetch(in.u + row, lane, length, even, u);
    if (length % 2) {
#pragma unroll
      for (int i = 0; i < WORDS; ++i) {
        if (64 * i + 2 * lane + 1 >= length) u[i] &= 0xffff;
      }
    }
    float signal[2 * WORDS], gate[2 * WORDS], skip[2 * WORDS];
    short_convolution(x1, w1, before1, lane, signal);
    short_convolution(v, wv, before_v, lane, gate);
#pragma unroll
    for (int i = 0; i < 2 * WORDS; ++i) signal[i] = 64 * (i / 2) + 2 * lane + i % 2 < length ? signal[i] * gate[i] : 0.0f;
    short_convolution(x2, w2, before2, lane, gate);
    __syncwarp();
#pragma unroll
    for (int i = 0; i < WORDS; ++i) {
      gated_signal[32 + 32 * i + lane] = pack_bf16(signal[2 * i], signal[2 * i + 1]);
      plain_signal[32 + 32 * i + lane] = u[i];
      skip[2 * i] = D2 * low_bf16(u[i]);
      skip[2 * i + 1] = D2 * high_bf16(u[i]);
    }
    __syncwarp();
    float c[TILES][4] = {};
    convolve(gated_signal, filter(0), lane, c);
#pragma unroll
    for (int i = 0; i < 2 * WORDS; ++i) {
      float& value = c[i / 4][i % 4];
      value = gate[i] * (value + D1 * signal[i]) + (residual ? skip[i] : 0.0f);
    }
    if (residual) convolve(plain_signal, filter(1), lane, c);
    BFloat16* out = y + row;
#pragma unroll
    for (int i = 0; i < WORDS; ++i) {
      const int t = 64 * i + 2 * lane;
      const float a = t < length ? c[i / 2][2 * (i % 2)] : 0.0f, d = t + 1 < length ? c[i / 2][2 * (i % 2) + 1] : 0.0f;
      if (even) {
        if (t < extent) *reinterpret_cast<uint32_t*>(out + t) = pack_bf16(a, d);
      } else {
        if (t < extent) out[t] = from_float<BFloat16>(a);
        if (t + 1 < extent) out[t + 1] = from_float<BFloat16>(d);
      }
    }
  }
};

}  // namespace

// Grid: groups of 4 sequences, rows of y. taps, D: of mixer_taps. filter: which of the two the gated convolution has.
#define MIXER_TOEPLITZ(length, blocks)                                                                                                 \
  extern "C" __global__ void __launch_bounds__(128, blocks)                                                                            \
      mixer_toeplitz_##length(MIXER_INPUTS(BFloat16), const BFloat16* taps, const float* D, const int* sequences, BFloat16* y,         \
                              MIXER_SIZES, bool residual, int filter) {                                                                \
    Toeplitz<length / 128>::run(mixer_inputs(x1, x2, v, u, short_filter, sequences, MIXER_SIZES_GIVEN), taps, D, y, residual, filter); \
  }

// MIXER_LENGTH: compiles only this kernel; 0: only mixer_taps.
#if !defined(MIXER_LENGTH) || MIXER_LENGTH == 256
MIXER_TOEPLITZ(256, 3)
#endif
#if !defined(MIXER_LENGTH) || MIXER_LENGTH == 512
MIXER_TOEPLITZ(512, 2)
#endif

#if !defined(MIXER_LENGTH) || MIXER_LENGTH == 0

// Both filters and the reversed ones as mixer_toeplitz.cuh says, each one array. Grid: 2, channels.
// k, k_rev, k2, k2_rev [L, H]; D, D2 [H]; length: of the kernel.
extern "C" __global__ void mixer_taps(const float* k, const float* k_rev, const float* k2, const float* k2_rev, const float* D,
                                      const float* D2, uint32_t* packed, uint32_t* reversed, int H, int L, int length, bool bidirectional) {
  const int filter = blockIdx.x, h = blockIdx.y, size = tap_count(length);
  const float *forward = filter ? k2 : k, *backward = filter ? k2_rev : k_rev;
  auto tap = [&](int lag) {
    float value = 0;
    if (lag >= 0 && lag < L) value = forward[size_t(lag) * H + h];
    if (lag < 0 && -lag < L && bidirectional) value = backward[size_t(-lag - 1) * H + h];
    return from_float<BFloat16>(value);
  };
  const size_t first = (size_t(h) * 2 + filter) * 2 * size;
  for (int i = threadIdx.x; i < 2 * size; i += blockDim.x) {
    const int lag = tap_origin(length) - (i % size - i / size);
    reinterpret_cast<BFloat16*>(packed)[first + i] = tap(lag);
    reinterpret_cast<BFloat16*>(reversed)[first + i] = tap(-lag);
  }
  if (threadIdx.x) return;
  const size_t place = size_t(2) * H * size + 2 * h + filter;
  packed[place] = reversed[place] = __float_as_uint((filter ? D2 : D)[h]);
}
#endif

}  // namespace m2bert::ops::cuda
