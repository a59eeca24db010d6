// Kernels of the Monarch Mixer's core by FFT in float32, and of its spectra. See mixer_fft.cuh.
#include "m2bert/ops/backend/cuda/mixer_fft.cuh"

namespace m2bert::ops::cuda {

namespace {

// The barrier of a group of threads, which shares a block with the other group.
template <int threads>
__device__ __forceinline__ void group_barrier(int group) {
  if constexpr (threads <= 32) {
    __syncwarp();
  } else {
    asm volatile("bar.sync %0, %1;" ::"r"(group + 1), "n"(threads) : "memory");
  }
}

// A thread's values of the gated convolution while the other one is computed: in registers, or in shared memory where registers are short.
template <typename Plan, bool shared = (Plan::KEPT > 0)>
struct Kept {
  using Values = typename MixerFft<Plan>::Values;
  static constexpr int SIZE = sizeof(Values) / sizeof(float), STRIDE = Plan::GROUPS * Plan::THREADS;
  float* memory;
  float values[shared ? 1 : SIZE];

  __device__ __forceinline__ explicit Kept(float* own_memory) : memory(own_memory) {}
  __device__ __forceinline__ void keep(const Values& x) {
#pragma unroll
    for (int i = 0; i < SIZE; ++i) (shared ? memory[i * STRIDE] : values[i]) = (&x[0][0][0])[i];
  }
  __device__ __forceinline__ void add_to(Values& x) const {
#pragma unroll
    for (int i = 0; i < SIZE; ++i) (&x[0][0][0])[i] += shared ? memory[i * STRIDE] : values[i];
  }
};

// A block does a pair. Grid: pairs, rows of y.
template <typename Plan, typename T>
__device__ __forceinline__ void mixer(const MixerInputs<T>& in, const Complex* spectra, const Complex* roots, T* y, bool residual) {
  extern __shared__ __align__(16) char shared_memory[];
  constexpr int threads = Plan::GROUPS * Plan::THREADS;
  if (int(blockIdx.y) >= in.H) return fill_bias_row(in, blockIdx.y, blockIdx.x * threads + threadIdx.x, gridDim.x * threads, y);
  Complex* buffers = reinterpret_cast<Complex*>(shared_memory);
  using Fft = MixerFft<Plan>;
  const int group = threadIdx.x / Plan::THREADS, thread = threadIdx.x % Plan::THREADS, t0 = threadIdx.x * Plan::CHUNK;
  const MixerPair<T> pair{in, int(blockIdx.y), int(blockIdx.x) * 2};
  const int signals = residual ? 2 : 1;
  Kept<Plan> gated(reinterpret_cast<float*>(buffers + Plan::PARTS * Plan::BUFFER) + threadIdx.x);
#pragma unroll 1
  for (int signal = 0; signal < signals; ++signal) {
    Fft::stage(pair, signal, t0, buffers);
    __syncthreads();
#pragma unroll 1
    for (int part = group; part < Plan::PARTS; part += Plan::GROUPS) {
      const Fft fft{part, thread, roots};
      Complex* buffer = buffers + part * Plan::BUFFER;
      Complex x[Plan::POINTS];
      fft.first(buffer, x);
      group_barrier<Plan::THREADS>(group);
      fft.second(buffer, x);
      __syncwarp();
      fft.third(buffer, x);
      fft.multiply(spectra + fft.spectrum_offset(pair.channel, signal, signals), x);
      fft.inverse_third(buffer, x);
      __syncwarp();
      fft.inverse_second(buffer, x);
      group_barrier<Plan::THREADS>(group);
      fft.inverse_first(buffer, x);
    }
    __syncthreads();
    typename Fft::Values values;
    Fft::join(buffers, t0, values);
    if (signal == 0) {
      Fft::apply_gate(pair, t0, values);
      if (!residual) Fft::write(pair, t0, values, y);
      gated.keep(values);
      __syncthreads();
    } else {
      gated.add_to(values);
      Fft::write(pair, t0, values, y);
    }
  }
}

// The spectra of all channels in the layout of the kernels above. Grid: PARTS, signals, channels.
template <typename Plan>
__device__ __forceinline__ void mixer_spectra(const float* k, const float* k_rev, const float* D, const Complex* roots, Complex* spectra,
                                              int H, int L, int signals, int signal, bool bidirectional) {
  extern __shared__ __align__(16) char shared_memory[];
  Complex* buffer = reinterpret_cast<Complex*>(shared_memory);
  const int channel = blockIdx.y;
  const MixerFft<Plan> fft{int(blockIdx.x), int(threadIdx.x), roots};
  fft.stage_filter(k + channel, bidirectional ? k_rev + channel : nullptr, D[channel], L, H, buffer);
  __syncthreads();
  Complex x[Plan::POINTS];
  fft.first(buffer, x);
  __syncthreads();
  fft.second(buffer, x);
  __syncwarp();
  fft.third(buffer, x);
  Complex* out = spectra + fft.spectrum_offset(channel, signal, signals);
#pragma unroll
  for (int i = 0; i < Plan::POINTS; ++i) out[i * Plan::THREADS] = x[i];
}

constexpr int blocks_of(int threads) { return threads >= 512 ? 1 : 512 / threads; }

}  // namespace

#define MIXER_FFT(length)                                                                                                                 \
  extern "C" __global__ void __launch_bounds__(2 * MixerPlan##length::THREADS, blocks_of(2 * MixerPlan##length::THREADS))                 \
      mixer_fft_##length(MIXER_INPUTS(float), const Complex* spectra, const Complex* roots, const int* sequences, float* y, MIXER_SIZES,  \
                         bool residual) {                                                                                                 \
    mixer<MixerPlan##length, float>(mixer_inputs(x1, x2, v, u, short_filter, sequences, MIXER_SIZES_GIVEN), spectra, roots, y, residual); \
  }                                                                                                                                       \
  extern "C" __global__ void __launch_bounds__(MixerPlan##length::THREADS)                                                                \
      mixer_spectra_##length(const float* k, const float* k_rev, const float* D, const Complex* roots, Complex* spectra, int H, int L,    \
                             int signals, int signal, bool bidirectional) {                                                               \
    mixer_spectra<MixerPlan##length>(k, k_rev, D, roots, spectra, H, L, signals, signal, bidirectional);                                  \
  }
#define MIXER_FFT_OF(length) MIXER_FFT(length)

// MIXER_LENGTH: the length that the kernels are compiled for.
MIXER_FFT_OF(MIXER_LENGTH)

}  // namespace m2bert::ops::cuda
