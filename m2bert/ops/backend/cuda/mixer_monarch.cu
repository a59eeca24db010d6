// The Monarch Mixer's core for long sequences, bfloat16, by FFT on tensor cores in float16: short convolution, gates, both long
// convolutions.
//
// The complex signal of a transform is a pair of sequences, or the halves of a long one. A sequence of segments x_0 and x_1 has the filters
// f_d for the distances d of segments, -1, 0 and 1. With z = x_0 + i x_1, the result y_0 + i y_1 has the transform
// A(k) Z(k) + B(k) conj(Z(-k)), where A = F_0 + i (F_1 - F_-1) / 2 and B = i (F_1 + F_-1) / 2.
#include "m2bert/ops/backend/cuda/mixer_inputs.cuh"
#include "m2bert/ops/backend/cuda/monarch_transform.cuh"

namespace m2bert::ops::cuda {

namespace {

// For sequences of up to LENGTH positions.
template <int LENGTH>
struct MixerCore {
  static constexpr MonarchSizes SIZES = core_sizes(LENGTH);
  static constexpr int PARTS = SIZES.parts, WARPS = SIZES.warps, THREADS = 32 * WARPS, SEGMENTS = segments_of(LENGTH);
  using Transform = Monarch<PARTS, 1, WARPS>;
  static constexpr int SWEEPS = Transform::SWEEPS, AT_ONCE = Transform::AT_ONCE;
  static constexpr bool KEPT_IN_OUTPUT = SEGMENTS > 1;  // the residual convolution: too much for the registers

  // The filter at a part's frequencies.
  struct PartSpectrum {
    uint32_t re[4], im[4];
    __device__ __forceinline__ void load(const Transform& m, const uint32_t* spectrum, int r) {
      load4(spectrum + r * 256 + m.lane * 4, re), load4(spectrum + r * 256 + 128 + m.lane * 4, im);
    }
  };
  // The warp's parts through their transform, the filter and the inverse transform. The spectrum of the next part is loaded before it is
  // needed, that of the first one by the constructor. spectrum: of this channel and signal, [PARTS][2][32] of 4 words; conjugate: of the
  // reversed filter.
  struct OneSegmentFilter {
    PartSpectrum filter;

    __device__ __forceinline__ OneSegmentFilter(const Transform& m, const uint32_t* spectrum) { filter.load(m, spectrum, m.warp); }

    __device__ __forceinline__ void convolve(const Transform& m, const typename Transform::PartTransform& transform,
                                             const uint32_t* spectrum, bool conjugate) {
      const uint32_t sign = conjugate ? 0x80008000u : 0;
#pragma unroll 1
      for (int r = m.warp; r < PARTS; r += WARPS) {
        const Matrix transformed = transform(m, r);
#pragma unroll
        for (int i = 0; i < 4; ++i) filter.im[i] ^= sign;
        const Matrix filtered = times<false>(transformed, filter.re, filter.im);
        if (r + WARPS < PARTS) filter.load(m, spectrum, r + WARPS);
        m.store_part(transform, r, filtered);
      }
    }
  };

  // The same for two segments: A(k) Z(k) + B(k) conj(Z(-k)). spectrum: [2][PARTS][2][32] of 4 words, A and B. A warp has pairs of opposite
  // parts, r and -r.
  struct TwoSegmentFilter {
    PartSpectrum A, B;

    // Parts 0 and PARTS / 2 are their own opposites, and the first pair.
    static __device__ __forceinline__ int partner(int r) { return r ? PARTS - r : PARTS / 2; }
    __device__ __forceinline__ void load(const Transform& m, const uint32_t* spectrum, int r) {
      A.load(m, spectrum, r), B.load(m, spectrum + SIZES.size(), r);
    }
    __device__ __forceinline__ TwoSegmentFilter(const Transform& m, const uint32_t* spectrum) { load(m, spectrum, m.warp); }

    __device__ __forceinline__ Matrix filtered(const Matrix& x, const Matrix& opposite, uint32_t sign) {
      // Of the reversed filters, conj(A) and -conj(B).
#pragma unroll
      for (int i = 0; i < 4; ++i) A.im[i] ^= sign, B.re[i] ^= sign;
      Matrix y = times<false>(x, A.re, A.im);
      add_product<true>(opposite, B.re, B.im, y);
      return y;
    }
    __device__ __forceinline__ void convolve(const Transform& m, const typename Transform::PartTransform& transform,
                                             const uint32_t* spectrum, bool conjugate) {
      const uint32_t sign = conjugate ? 0x80008000u : 0;
#pragma unroll 1
      for (int r = m.warp; r < PARTS / 2; r += WARPS) {
        const Matrix x = transform(m, r), other = transform(m, partner(r));
        Matrix of_x, of_other;
        if (r == 0) {
          of_x = m.reversed_part_0(x), of_other = Transform::reversed(other);
        } else {
          of_x = Transform::reversed(other), of_other = Transform::reversed(x);
        }
        const Matrix y = filtered(x, of_x, sign);
        load(m, spectrum, partner(r));
        m.store_part(transform, r, y);
        const Matrix z = filtered(other, of_other, sign);
        if (r + WARPS < PARTS / 2) load(m, spectrum, r + WARPS);
        m.store_part(transform, partner(r), z);
      }
    }
  };

  // What stage() left becomes its convolution. Has a barrier before and after; what comes from memory is loaded in front of each barrier.
  static __device__ __forceinline__ void convolve(const Transform& m, const uint32_t* spectrum, bool conjugate) {
    const typename Transform::FoldRegisters folding(m, false);
    __syncthreads();
    m.fold(folding);
    const typename Transform::PartTransform transform(m);
    std::conditional_t<SEGMENTS == 1, OneSegmentFilter, TwoSegmentFilter> filter(m, spectrum);
    __syncthreads();
    filter.convolve(m, transform, spectrum, conjugate);
    const typename Transform::FoldRegisters unfolding(m, true);
    __syncthreads();
    m.unfold(unfolding);
    __syncthreads();
  }

  // The sequence of the real (b = 0) or imaginary part of the block's signal. Computed anew where it is needed, which costs less than the
  // registers.
  static __device__ __forceinline__ Place place_of(const MixerChannel& channel, int b) {
    return channel.place(SEGMENTS == 1 ? int(blockIdx.x) * 2 + b : int(blockIdx.x));
  }
  // Position t of that part as one of its sequence.
  static __device__ __forceinline__ int in_sequence(int b, int t) { return SEGMENTS == 1 ? t : b * SIZES.positions() + t; }
  // The residual convolution, scaled, as float16 in the places of y that this thread's results will have.
  static __device__ __forceinline__ void load_kept(const MixerChannel& channel, int t, const BFloat16* y, uint32_t (*words)[4]) {
#pragma unroll
    for (int b = 0; b < 2; ++b) {
      Place place = place_of(channel, b);
      place.length = place.extent;
      load_words<false>(y, place, in_sequence(b, t), words[b]);
    }
  }
  static __device__ __forceinline__ void store_kept(const MixerChannel& channel, int t, BFloat16* y, const uint32_t (*words)[4]) {
#pragma unroll
    for (int b = 0; b < 2; ++b) store_words<false>(y, place_of(channel, b), in_sequence(b, t), words[b]);
  }

  static __device__ __forceinline__ int stage(const Transform& m, const MixerChannel& channel, int signal) {
    return m.stage(
        channel.wide(),
        [&](auto wide, int b, int t) {
          return channel.template load_signal<decltype(wide)::value>(signal, place_of(channel, b), in_sequence(b, t));
        },
        [&](int b, int t, const SignalPositions& loaded, float* x) {
          channel.signal_values<false>(signal, loaded, place_of(channel, b), in_sequence(b, t), x);
        });
  }
  // x2 of COUNT sweeps.
  template <int COUNT>
  static __device__ __forceinline__ void load_gates(const Transform& m, const MixerChannel& channel, int first, Positions (*x)[2]) {
    load_first(channel.wide(), [&](auto wide) {
#pragma unroll
      for (int k = 0; k < 2 * COUNT; ++k) {
        const int t = in_sequence(k % 2, m.position(first + k / 2));
        x[k / 2][k % 2] = channel.template load_gate<decltype(wide)::value>(place_of(channel, k % 2), t);
      }
    });
  }

  static __device__ __forceinline__ void run(const MixerInputs<BFloat16>& in, const uint32_t* spectra, const float* scales,
                                             const uint32_t* constants, BFloat16* y, bool residual, int filter, bool conjugate) {
    M2BERT_SHARED_MEMORY(shared_memory);
    if (int(blockIdx.y) >= in.H) return fill_bias_row(in, blockIdx.y, blockIdx.x * THREADS + threadIdx.x, gridDim.x * THREADS, y);
    const Transform m = Transform::prepare(shared_memory, constants);
    const MixerChannel channel{in, int(blockIdx.y)};
    uint32_t kept[KEPT_IN_OUTPUT ? 1 : SWEEPS][2][4];  // the residual convolution
    float residual_scale = 0;
#pragma unroll 1
    for (int signal = residual ? 1 : 0; signal >= 0; --signal) {  // 1: u; 0: x1 v, which has the other filter
      const int e = stage(m, channel, signal);
      const int row = channel.channel * 2 + (signal ^ filter);
      const float filter_scale = scales[row];
      convolve(m, spectra + size_t(row) * (SEGMENTS * SIZES.size()), conjugate);
      const float scale = filter_scale * power_of_two(e);
      if (signal == 1) {
        residual_scale = scale;
#pragma unroll
        for (int k = 0; k < SWEEPS; ++k) {
          uint32_t(*words)[4] = kept[KEPT_IN_OUTPUT ? 0 : k];
          m.read(k, 0, words[0]), m.read(k, 1, words[1]);
          if constexpr (KEPT_IN_OUTPUT) store_kept(channel, m.position(k), y, words);
        }
      } else {
#pragma unroll
        for (int first = 0; first < SWEEPS; first += AT_ONCE) {
          Positions gates[AT_ONCE][2];
          load_gates<AT_ONCE>(m, channel, first, gates);
#pragma unroll
          for (int k = first; k < first + AT_ONCE; ++k) {
            if (KEPT_IN_OUTPUT && residual) load_kept(channel, m.position(k), y, kept[0]);
#pragma unroll
            for (int b = 0; b < 2; ++b) {
              uint32_t words[4];
              float x2[8], out[8];
              m.read(k, b, words);
              channel.gate(gates[k - first][b], in_sequence(b, m.position(k)), x2);
#pragma unroll
              for (int i = 0; i < 4; ++i) {
                const float2 conv = unpack_f16(words[i]);
                out[2 * i] = x2[2 * i] * (conv.x * scale), out[2 * i + 1] = x2[2 * i + 1] * (conv.y * scale);
                if (residual) {
                  const float2 rest = unpack_f16(kept[KEPT_IN_OUTPUT ? 0 : k][b][i]);
                  out[2 * i] += rest.x * residual_scale, out[2 * i + 1] += rest.y * residual_scale;
                }
              }
              channel.template store<false>(place_of(channel, b), in_sequence(b, m.position(k)), out, y);
            }
          }
        }
      }
    }
  }
};

}  // namespace

// min_blocks: on a multiprocessor, which bounds the registers. Grid: pairs of sequences, or sequences of two segments; rows of y. spectra,
// scales from mixer_monarch_spectra; constants: monarch_constants(core_sizes()). filter: which of the two the gated convolution has;
// conjugate: the reversed filters.
#define MIXER_MONARCH(length, min_blocks)                                                                                         \
  extern "C" __global__ void __launch_bounds__(MixerCore<length>::THREADS, min_blocks)                                            \
      mixer_monarch_##length(MIXER_INPUTS(BFloat16), const uint32_t* spectra, const float* scales, const uint32_t* constants,     \
                             const int* sequences, BFloat16* y, MIXER_SIZES, bool residual, int filter, bool conjugate) {         \
    MixerCore<length>::run(mixer_inputs(x1, x2, v, u, short_filter, sequences, MIXER_SIZES_GIVEN), spectra, scales, constants, y, \
                           residual, filter, conjugate);                                                                          \
  }

// MIXER_LENGTH: compiles only this kernel.
#if !defined(MIXER_LENGTH) || MIXER_LENGTH == 1024
MIXER_MONARCH(1024, 8)
#endif
#if !defined(MIXER_LENGTH) || MIXER_LENGTH == 2048
MIXER_MONARCH(2048, 7)
#endif
#if !defined(MIXER_LENGTH) || MIXER_LENGTH == 4096
MIXER_MONARCH(4096, 3)
#endif
#if !defined(MIXER_LENGTH) || MIXER_LENGTH == 8192
MIXER_MONARCH(8192, 4)
#endif
#if !defined(MIXER_LENGTH) || MIXER_LENGTH == 16384
MIXER_MONARCH(16384, 2)
#endif
#if !defined(MIXER_LENGTH) || MIXER_LENGTH == 32768
MIXER_MONARCH(32768, 1)
#endif

}  // namespace m2bert::ops::cuda
