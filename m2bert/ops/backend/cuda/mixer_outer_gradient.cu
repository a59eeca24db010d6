// The gradient of the Monarch Mixer's filters for short sequences, bfloat16, on tensor cores.
//
// For each channel, the sum over sequences of the outer product of the gradient of a convolution's output and of its input is one matrix
// product, [L, sequences] by [sequences, L]. Its diagonals add up to the filter's gradient: that of i - j is lag i - j.
#include "m2bert/ops/backend/cuda/mixer_positions.cuh"

namespace m2bert::ops::cuda {

namespace {

struct OuterGradient {
  static constexpr int LENGTH = 128, SEQUENCES = 16, THREADS = 256;  // positions at most; sequences at once
  static constexpr int PITCH = LENGTH + 8, SUM_PITCH = LENGTH + 4;   // without bank conflicts
  static constexpr int SHARED_BYTES = LENGTH * SUM_PITCH * 4;

  // Rows of 16 sequences, bfloat16: the gradient of the output, and the input.
  struct Stage {
    alignas(16) uint32_t output[SEQUENCES][PITCH / 2], input[SEQUENCES][PITCH / 2];
  };

  // lags [256]: of this channel and signal, lag t in place t modulo 256. WIDE: all rows are.
  template <bool WIDE>
  static __device__ __forceinline__ void run(const MixerInputs<BFloat16>& in, const BFloat16* dy, int channel, int signal, float* lags) {
    M2BERT_SHARED_MEMORY(shared_memory);
    Stage* const stages = reinterpret_cast<Stage*>(shared_memory);  // two, used in turn
    const MixerChannel rows{in, channel};
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int sequence = threadIdx.x / 16, t0 = threadIdx.x % 16 * 8;  // that this thread stages
    float sum[16][4] = {};                                             // rows 16 warp + (0 ... 15) by tiles of 8 columns
    // The next sequences are loaded while these are multiplied.
    SignalPositions input, output;
    auto load = [&](int first) {
      const Place place = rows.place(first + sequence);
      input = rows.load_signal<WIDE>(signal, place, t0), output = rows.load_gradient<WIDE>(dy, signal, place, t0);
    };
    load(0);
    int turn = 0;
#pragma unroll 1
    for (int first = 0; first < in.B; first += SEQUENCES, turn ^= 1) {
      Stage& stage = stages[turn];
      const Place place = rows.place(first + sequence);
      float x[8];
      rows.signal_values<WIDE>(signal, input, place, t0, x);
      pack_positions(x, &stage.input[sequence][t0 / 2]);
      rows.gradient_values<WIDE>(signal, output, place, t0, x);
      pack_positions(x, &stage.output[sequence][t0 / 2]);
      load(first + SEQUENCES);
      __syncthreads();
      uint32_t left[4];
      load_transposed(left, &stage.output[lane % 8 + lane / 16 * 8][8 * warp + lane / 8 % 2 * 4]);
#pragma unroll
      for (int tile = 0; tile < 8; ++tile) {
        uint32_t right[4];
        load_transposed(right, &stage.input[lane % 16][8 * tile + lane / 16 * 4]);
        mma_bf16(sum[2 * tile], left, right[0], right[1]);
        mma_bf16(sum[2 * tile + 1], left, right[2], right[3]);
      }
    }
    __syncthreads();
    float* const product = reinterpret_cast<float*>(shared_memory);  // [LENGTH][SUM_PITCH]
#pragma unroll
    for (int tile = 0; tile < 16; ++tile) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        product[(16 * warp + lane / 4 + i / 2 * 8) * SUM_PITCH + 8 * tile + lane % 4 * 2 + i % 2] = sum[tile][i];
      }
    }
    __syncthreads();
    const int lag = threadIdx.x < LENGTH ? int(threadIdx.x) : int(threadIdx.x) - 2 * LENGTH;
    float total = 0;
    for (int j = max(0, -lag); j < min(LENGTH, LENGTH - lag); ++j) total += product[(j + lag) * SUM_PITCH + j];
    lags[threadIdx.x] = total;
  }
};

}  // namespace

// Grid: filters (1 or 2), channels. dy [H, columns], sequences of up to 128 positions; lags [H, filters, 256].
extern "C" __global__ void __launch_bounds__(256, 2)
    mixer_outer_gradient(MIXER_INPUTS(BFloat16), const BFloat16* dy, const int* sequences, float* lags, MIXER_SIZES) {
  const auto in = mixer_inputs(x1, x2, v, u, short_filter, sequences, MIXER_SIZES_GIVEN);
  lags += (size_t(blockIdx.y) * gridDim.x + blockIdx.x) * 256;
  if (MixerChannel{in, int(blockIdx.y)}.wide()) {
    OuterGradient::run<true>(in, dy, blockIdx.y, blockIdx.x, lags);
  } else {
    OuterGradient::run<false>(in, dy, blockIdx.y, blockIdx.x, lags);
  }
}

}  // namespace m2bert::ops::cuda
