#pragma once
// A thread's eight positions of the mixer's rows, bfloat16. Loading and computing are apart, so that a kernel loads all that it needs
// before it waits for memory.
#include <type_traits>

#include "m2bert/ops/backend/cuda/mixer_inputs.cuh"
#include "m2bert/ops/backend/cuda/tensor_core.cuh"

namespace m2bert::ops::cuda {

// load(std::true_type()) if all rows are wide, else load(std::false_type()). Nothing that it loads is left to its use: a compiler would
// move it there, but not across a barrier.
template <typename Load>
__device__ __forceinline__ void load_first(bool wide, Load load) {
  if (wide) {
    load(std::true_type());
  } else {
    load(std::false_type());
  }
  __syncwarp();
}

// Positions t ... t + 7 of a row as words of two; in lane 0 also the two before them. Behind a sequence they are undefined.
struct Positions {
  uint32_t before = 0, words[4] = {};
};

// One channel of one sequence; if there is no such sequence, of length 0.
struct Place {
  size_t offset;  // in a row of activations
  int length, extent;
  bool wide;  // whether vectors of eight positions are aligned
};

// What a kernel needs of a signal, or of its gradient: one row, or two that it multiplies.
struct SignalPositions {
  Positions a, b;
};

__device__ __forceinline__ void get_words(const uint4& v, uint32_t* words) {
  words[0] = v.x, words[1] = v.y, words[2] = v.z, words[3] = v.w;
}

__device__ __forceinline__ uint32_t load_pair(const BFloat16* row, int t, int length) {
  uint32_t word = 0;
  if (t < length) word = row[t].bits;
  if (t + 1 < length) word |= uint32_t(row[t + 1].bits) << 16;
  return word;
}

// WIDE: it is known that each row is, and that lengths are multiples of eight.
template <bool WIDE>
__device__ __forceinline__ void load_words(const BFloat16* x, const Place& place, int t, uint32_t (&words)[4]) {
  const BFloat16* row = x + (place.offset + t);
  if (WIDE || place.wide) {
    uint4 v = {};
    if (t < place.length) v = *reinterpret_cast<const uint4*>(row);
    get_words(v, words);
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) words[i] = load_pair(row - t, t + 2 * i, place.length);
  }
}
template <bool WIDE>
__device__ __forceinline__ Positions load_positions(const BFloat16* x, const Place& place, int t) {
  Positions p;
  load_words<WIDE>(x, place, t, p.words);
  const BFloat16* row = x + (place.offset + t);
  const bool needed = t > 0 && threadIdx.x % 32 == 0;
  if (WIDE) {
    if (needed && t < place.length) p.before = *reinterpret_cast<const uint32_t*>(row - 2);
  } else if (needed) {
    p.before = load_pair(row - t, t - 2, place.length);
  }
  return p;
}

__device__ __forceinline__ void unpack_positions(const uint32_t* words, float* out) {
#pragma unroll
  for (int i = 0; i < 4; ++i) out[2 * i] = low_bf16(words[i]), out[2 * i + 1] = high_bf16(words[i]);
}

// A channel's row of SHORT_FILTER.
struct ShortFilter {
  float4 taps;  // three, and the bias
  float before;
};

// The causal convolution with three taps. before: of any lane.
__device__ __forceinline__ void short_convolution(const uint32_t* words, uint32_t before, const ShortFilter& filter, int t, float* out) {
  const float4& w = filter.taps;
  float a = low_bf16(before), b = high_bf16(before);
  if (t == 0) a = b = filter.before;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float c = low_bf16(words[i]), d = high_bf16(words[i]);
    out[2 * i] = w.x * a + (w.y * b + (w.z * c + w.w));
    out[2 * i + 1] = w.x * b + (w.y * c + (w.z * d + w.w));
    a = c, b = d;
  }
}
// For all lanes of a warp.
__device__ __forceinline__ void short_convolution(const Positions& x, const ShortFilter& filter, int t, float* out) {
  const uint32_t of_neighbour = __shfl_up_sync(~0u, x.words[3], 1);
  short_convolution(x.words, threadIdx.x % 32 ? of_neighbour : x.before, filter, t, out);
}

// Zeros from position `length` on. WIDE: lengths are multiples of eight. Only the end of a sequence pays for its length.
template <bool WIDE>
__device__ __forceinline__ void mask_positions(const Place& place, int t, float* x) {
  const int exist = place.length - t;
  if (exist >= 8) return;
#pragma unroll
  for (int i = 0; i < 8; ++i) x[i] = (WIDE ? 0 : i) < exist ? x[i] : 0.0f;
}
__device__ __forceinline__ void mask_words(const Place& place, int t, uint32_t* words) {
  const int exist = place.length - t;
  if (exist >= 8) return;
#pragma unroll
  for (int i = 0; i < 4; ++i) words[i] &= exist > 2 * i + 1 ? ~0u : exist > 2 * i ? 0xffffu : 0u;
}

template <bool WIDE>
__device__ __forceinline__ void store_words(BFloat16* y, const Place& place, int t, const uint32_t* words) {
  BFloat16* row = y + place.offset + t;
  if (t >= place.extent) return;
  if (WIDE || place.wide) {
    *reinterpret_cast<uint4*>(row) = {words[0], words[1], words[2], words[3]};
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (t + i < place.extent) row[i] = {uint16_t(words[i / 2] >> 16 * (i % 2))};
    }
  }
}
__device__ __forceinline__ void pack_positions(const float* x, uint32_t* words) {
#pragma unroll
  for (int i = 0; i < 4; ++i) words[i] = pack_bf16(x[2 * i], x[2 * i + 1]);
}

// A channel of the mixer. signal 0 is the gated one, x1 v; signal 1 is u, for the residual convolution.
struct MixerChannel {
  const MixerInputs<BFloat16>& in;
  int channel;

  // Whether all rows are, and lengths multiples of eight, without a look at them.
  __device__ __forceinline__ bool wide() const { return !in.sequences && in.L % 8 == 0; }
  __device__ __forceinline__ Place place(int b) const {
    if (b >= in.B) return {0, 0, 0, true};
    return {in.row(channel, b), in.length(b), in.extent(b), in.is_multiple_of(8, b)};
  }
  __device__ __forceinline__ ShortFilter filter(int first_row) const {
    const float* row = in.short_filter + SHORT_FILTER * (first_row + channel);
    return {*reinterpret_cast<const float4*>(row), row[4]};
  }

  // A row read as it is, without short convolution or gate; its values are those of signal 1.
  template <bool WIDE>
  __device__ __forceinline__ SignalPositions load_row(const BFloat16* row, const Place& p, int t) const {
    SignalPositions s;
    load_words<WIDE>(row, p, t, s.a.words);
    return s;
  }
  template <bool WIDE>
  __device__ __forceinline__ SignalPositions load_signal(int signal, const Place& p, int t) const {
    if (signal) return load_row<WIDE>(in.u, p, t);
    return {load_positions<WIDE>(in.x1, p, t), load_positions<WIDE>(in.v, p, t)};
  }
  template <bool WIDE>
  __device__ __forceinline__ void signal_values(int signal, const SignalPositions& s, const Place& p, int t, float* out) const {
    if (signal) {
      unpack_positions(s.a.words, out);
    } else {
      float v[8];
      short_convolution(s.a, filter(in.x1_taps), t, out);
      short_convolution(s.b, filter(in.v_taps), t, v);
#pragma unroll
      for (int i = 0; i < 8; ++i) out[i] *= v[i];
    }
    mask_positions<WIDE>(p, t, out);
  }
  template <bool WIDE>
  __device__ __forceinline__ Positions load_gate(const Place& p, int t) const {
    return load_positions<WIDE>(in.x2, p, t);
  }
  __device__ __forceinline__ void gate(const Positions& x, int t, float* out) const { short_convolution(x, filter(in.x2_taps), t, out); }

  // The gradient of a convolution's result: x2 dy, or dy.
  template <bool WIDE>
  __device__ __forceinline__ SignalPositions load_gradient(const BFloat16* dy, int signal, const Place& p, int t) const {
    SignalPositions s = load_row<WIDE>(dy, p, t);
    if (!signal) s.b = load_gate<WIDE>(p, t);
    return s;
  }
  template <bool WIDE>
  __device__ __forceinline__ void gradient_values(int signal, const SignalPositions& s, const Place& p, int t, float* out) const {
    unpack_positions(s.a.words, out);
    if (!signal) {
      float x2[8];
      gate(s.b, t, x2);
#pragma unroll
      for (int i = 0; i < 8; ++i) out[i] *= x2[i];
    }
    mask_positions<WIDE>(p, t, out);
  }
  template <bool WIDE>
  __device__ __forceinline__ void store(const Place& p, int t, float* values, BFloat16* y) const {
    uint32_t words[4];
    if (!WIDE) mask_positions<false>(p, t, values);
    pack_positions(values, words);
    store_words<WIDE>(y, p, t, words);
  }
};

}  // namespace m2bert::ops::cuda
