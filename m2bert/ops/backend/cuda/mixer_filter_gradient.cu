// The gradient of the long convolutions' filters, bfloat16, for sequences of more than 128 positions.
#include "m2bert/ops/backend/cuda/mixer_inputs.cuh"
#include "m2bert/ops/backend/cuda/monarch_transform.cuh"

namespace m2bert::ops::cuda {

namespace {

// For sequences of up to LENGTH positions.
template <int LENGTH>
struct FilterGradient {
  static constexpr MonarchSizes SIZES = filter_gradient_sizes(LENGTH);
  static constexpr int PARTS = SIZES.parts, WARPS = SIZES.warps, THREADS = 32 * WARPS;
  using Transform = Monarch<PARTS, SIZES.groups, WARPS>;
  static constexpr bool GROUPED = Transform::GROUPED;

  // Adds the Hermitian part of this group's sums, which is the spectrum of a real signal, to spectrum [SIZES.size()], signal 1 times i: one
  // complex transform then returns signal 0 as the real part and signal 1 as the imaginary part. Conjugated, so that a forward FFT is the
  // inverse one. sums: of this thread, [parts][real, imaginary][8]. Neighbouring threads write neighbouring parts. Has a barrier before.
  static __device__ __forceinline__ void add_hermitian_part(const Transform& m, const float (*sums)[2][8], int signal, bool add,
                                                            float2* spectrum) {
    constexpr MonarchSizes sizes = SIZES;
    constexpr int OWN = sizes.own_parts(), COLUMNS = THREADS / OWN, PITCH = 257;
    float* const plane = reinterpret_cast<float*>(m.exchange);  // [OWN][PITCH], in columns that spread a warp's over the banks
    auto place = [&](int part, int f) { return part * PITCH + (f ^ (f >> 5 & 3) << 3); };
    const int own = threadIdx.x % OWN, part = sizes.part(m.group, own), opposite = sizes.opposite(m.group, own), last = part ? 255 : 256;
    float real[256 / COLUMNS][2];
#pragma unroll
    for (int component = 0; component < 2; ++component) {
      __syncthreads();
#pragma unroll
      for (int i = 0; i < OWN / WARPS; ++i) {
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          plane[place(m.warp + i * WARPS, m.g + 8 * (j / 2 % 2) + 16 * (2 * m.q + 8 * (j / 4) + j % 2))] = sums[i][component][j];
        }
      }
      __syncthreads();
#pragma unroll
      for (int i = 0; i < 256 / COLUMNS; ++i) {
        const int f = threadIdx.x / OWN + i * COLUMNS;
        const float other = plane[place(opposite, (last - f) & 255)];
        real[i][component] = 0.5f * (plane[place(own, f)] + (component ? -other : other));
      }
    }
#pragma unroll
    for (int i = 0; i < 256 / COLUMNS; ++i) {
      float2& to = spectrum[part + PARTS * (threadIdx.x / OWN + i * COLUMNS)];
      float2 value = signal ? float2{real[i][1], real[i][0]} : float2{real[i][0], -real[i][1]};
      if (add) value.x += to.x, value.y += to.y;
      to = value;
    }
  }

  // The spectrum of the filters' gradients, k's the real part of the signal and k2's the imaginary part: the sums over all sequences of
  // conj(transform of a convolution's input) times the transform of the gradient of its output, divided by the transform's size. A signal
  // is a row of sequences, `slot` positions from one to the next: at least as many zeros as a sequence has positions lie between two of
  // them, so that their lags do not mix. gradient [SIZES.size()]: of this channel, whose blocks have a group each.
  static __device__ __forceinline__ void run(const MixerInputs<BFloat16>& in, const BFloat16* dy, const uint32_t* constants, int channel,
                                             int filters, int group, int slot, float2* gradient) {
    M2BERT_SHARED_MEMORY(shared_memory);
    const Transform m = Transform::prepare(shared_memory, constants, group);
    const MixerChannel rows{in, channel};
    constexpr bool SEVERAL = PARTS == 8;  // sequences in a signal: longer transforms are of longer sequences
    int log2_slot = 0;
    while (SEVERAL && 1 << log2_slot < slot) ++log2_slot;
    const int sequences_in_signal = SEVERAL ? SIZES.positions() >> log2_slot : 1;
    constexpr int OWN = SIZES.own_parts() / WARPS;
    // GROUPED: x1 and x2 are x1 v and x2 dy already, which are read as u is.
#pragma unroll 1
    for (int signal = 0; signal < filters; ++signal) {
      float sums[OWN][2][8] = {};
#pragma unroll 1
      for (int first = 0; first < in.B; first += 2 * sequences_in_signal) {
        Matrix input[OWN];
        auto place = [&](int b, int t) { return rows.place(SEVERAL ? first + b * sequences_in_signal + (t >> log2_slot) : first + b); };
        auto in_sequence = [&](int t) { return SEVERAL ? t & (slot - 1) : t; };
        const int e = m.stage(
            rows.wide(),
            [&](auto wide, int b, int t) {
              constexpr bool WIDE = decltype(wide)::value;
              if constexpr (GROUPED) return rows.template load_row<WIDE>(signal ? in.u : in.x1, place(b, t), in_sequence(t));
              else return rows.template load_signal<WIDE>(signal, place(b, t), in_sequence(t));
            },
            [&](int b, int t, const SignalPositions& loaded, float* x) {
              rows.signal_values<false>(GROUPED ? 1 : signal, loaded, place(b, t), in_sequence(t), x);
            });
        const typename Transform::FoldRegisters folding(m, false);
        __syncthreads();
        m.fold(folding);
        __syncthreads();
        {
          const typename Transform::PartTransform transform(m);
#pragma unroll
          for (int i = 0; i < OWN; ++i) input[i] = transform(m, m.warp + i * WARPS);
        }
        const int e2 = m.stage(
            rows.wide(),
            [&](auto wide, int b, int t) {
              constexpr bool WIDE = decltype(wide)::value;
              if constexpr (GROUPED) return rows.template load_row<WIDE>(signal ? dy : in.x2, place(b, t), in_sequence(t));
              else return rows.template load_gradient<WIDE>(dy, signal, place(b, t), in_sequence(t));
            },
            [&](int b, int t, const SignalPositions& loaded, float* x) {
              rows.gradient_values<false>(GROUPED ? 1 : signal, loaded, place(b, t), in_sequence(t), x);
            });
        __syncthreads();
        m.fold(folding);
        __syncthreads();
        const float scale = power_of_two(e) * power_of_two(e2);
        const typename Transform::PartTransform transform(m);
#pragma unroll
        for (int i = 0; i < OWN; ++i) {
          const Matrix output = transform(m, m.warp + i * WARPS);
#pragma unroll
          for (int word = 0; word < 4; ++word) {
            const float2 a = unpack_f16(input[i].re[word]), b = unpack_f16(input[i].im[word]);
            const float2 c = unpack_f16(output.re[word]), d = unpack_f16(output.im[word]);
            const float2 re = {scale * (a.x * c.x + b.x * d.x), scale * (a.y * c.y + b.y * d.y)};
            const float2 im = {scale * (a.x * d.x - b.x * c.x), scale * (a.y * d.y - b.y * c.y)};
            auto add = [](float& sum, float x) { sum = GROUPED ? x : sum + x; };
            add(sums[i][0][2 * word], re.x), add(sums[i][0][2 * word + 1], re.y);
            add(sums[i][1][2 * word], im.x), add(sums[i][1][2 * word + 1], im.y);
          }
        }
        if (GROUPED) add_hermitian_part(m, sums, signal, first > 0 || signal > 0, gradient);
      }
      if (!GROUPED) add_hermitian_part(m, sums, signal, signal > 0, gradient);
    }
  }
};

}  // namespace

// Grid: groups, channels. Where there are several groups, x1 and x2 are the rows of mixer_local_gradient_gated_rows. filters: 1 or 2;
// gradients [H, size of the transform]; constants: monarch_constants of filter_gradient_sizes().
#define MIXER_FILTER_GRADIENT(length, min_blocks)                                                                                  \
  extern "C" __global__ void __launch_bounds__(FilterGradient<length>::THREADS, min_blocks)                                        \
      mixer_filter_gradient_##length(MIXER_INPUTS(BFloat16), const BFloat16* dy, const uint32_t* constants, const int* sequences,  \
                                     float2* gradients, MIXER_SIZES, int filters, int slot) {                                      \
    FilterGradient<length>::run(mixer_inputs(x1, x2, v, u, short_filter, sequences, MIXER_SIZES_GIVEN), dy, constants, blockIdx.y, \
                                filters, blockIdx.x, slot, gradients + size_t(blockIdx.y) * FilterGradient<length>::SIZES.size()); \
  }

// FILTER_GRADIENT: compiles only this kernel.
#if !defined(FILTER_GRADIENT) || FILTER_GRADIENT == 1024
MIXER_FILTER_GRADIENT(1024, 6)
#endif
#if !defined(FILTER_GRADIENT) || FILTER_GRADIENT == 2048
MIXER_FILTER_GRADIENT(2048, 2)
#endif
#if !defined(FILTER_GRADIENT) || FILTER_GRADIENT == 4096
MIXER_FILTER_GRADIENT(4096, 1)
#endif
#if !defined(FILTER_GRADIENT) || FILTER_GRADIENT == 8192
MIXER_FILTER_GRADIENT(8192, 1)
#endif
#if !defined(FILTER_GRADIENT) || FILTER_GRADIENT == 16384
MIXER_FILTER_GRADIENT(16384, 1)
#endif
#if !defined(FILTER_GRADIENT) || FILTER_GRADIENT == 32768
MIXER_FILTER_GRADIENT(32768, 1)
#endif

}  // namespace m2bert::ops::cuda
