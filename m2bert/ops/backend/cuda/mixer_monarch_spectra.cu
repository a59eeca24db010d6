// The long convolutions' filters as mixer_monarch.cu takes them: their lags, and after an FFT their spectra.
#include "m2bert/ops/backend/cuda/mixer_monarch.cuh"
#include "m2bert/ops/backend/cuda/tensor_core.cuh"

namespace m2bert::ops::cuda {

// The taps of both filters by their lag, [H, 2, kinds, size]: what the spectra are the transform of. For one segment there is one kind,
// the filter; for two segments of size / 2 positions three: f_0, (f_1 - f_-1) / 2, (f_1 + f_-1) / 2. Grid: tiles of 32 lags, of 32
// channels of each filter, for f_0 and for the others. k, k_rev, k2, k2_rev [L, H]; D, D2 [H].
extern "C" __global__ void __launch_bounds__(256)
    mixer_lags(const float* k, const float* k_rev, const float* k2, const float* k2_rev, const float* D, const float* D2, float* lags,
               int H, int L, int size, int segments, bool bidirectional) {
  M2BERT_SHARED_MEMORY(shared_memory);
  constexpr int PITCH = LagsTile::PITCH, TILE = LagsTile::SIZE;
  float* const tile = reinterpret_cast<float*>(shared_memory);  // [2][32 lags][PITCH]
  const int channel_tiles = (H + 31) / 32, signal = blockIdx.y / channel_tiles, lane = threadIdx.x % 32, row = threadIdx.x / 32;
  const int first_channel = blockIdx.y % channel_tiles * 32, first_lag = blockIdx.x * 32, filter = signal / segments;
  const bool across = signal % segments == 1;
  const float *forward = filter ? k2 : k, *backward = filter ? k2_rev : k_rev;
  const int h = first_channel + lane;
  auto tap = [&](int lag) {
    float value = 0;
    if (h < H && lag >= 0 && lag < L) value = forward[size_t(lag) * H + h];
    if (h < H && lag == 0) value += (filter ? D2 : D)[h];
    if (h < H && lag < 0 && -lag < L && bidirectional) value = backward[size_t(-lag - 1) * H + h];
    return value;
  };
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int i = row + 8 * j, place = first_lag + i, lag = place < size / 2 ? place : place - size;
    float* const to = tile + i * PITCH + lane;
    if (across) {
      const float after = 0.5f * tap(lag + size / 2), before = 0.5f * tap(lag - size / 2);
      to[0] = after - before, to[TILE] = after + before;
    } else {
      *to = tap(lag);
    }
  }
  __syncthreads();
  const int kinds = 2 * segments - 1;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int i = row + 8 * j, channel = first_channel + i;
    if (channel >= H || first_lag + lane >= size) continue;
    float* const to = lags + (size_t(channel * 2 + filter) * kinds + across) * size + first_lag + lane;
    to[0] = tile[lane * PITCH + i];
    if (across) to[size] = tile[TILE + lane * PITCH + i];
  }
}

// What the filters' spectra are made of: their transforms, [H, 2, kinds, size / 2 + 1] for the kinds of mixer_lags.
struct FilterTransforms {
  const float2* of_filter;
  int size, segments;

  __device__ __forceinline__ FilterTransforms(const float2* all, int channel, int filter, int size, int segments)
      : of_filter(all + (size_t(channel) * 2 + filter) * (2 * segments - 1) * (size / 2 + 1)), size(size), segments(segments) {}

  // A (factor 0) or B (1) at k <= size / 2, or at -k. With one segment there is no B, and A is the filter's own spectrum.
  __device__ __forceinline__ float2 spectrum(int factor, int k, bool opposite) const {
    const int kind = size / 2 + 1;
    if (factor == 1) {
      const float2 f = of_filter[k + 2 * kind];
      return {opposite ? f.y : -f.y, f.x};
    }
    const float2 f = of_filter[k];
    float2 d = {0, 0};
    if (segments == 2) d = of_filter[k + kind];
    return opposite ? float2{f.x + d.y, d.x - f.y} : float2{f.x - d.y, f.y + d.x};
  }
};

// 2^e by which the result of each filter is multiplied, [H, 2]. Grid: filters, channels.
extern "C" __global__ void __launch_bounds__(SpectraScales::THREADS)
    mixer_monarch_scales(const float2* transform, float* scales, int size, int segments) {
  M2BERT_SHARED_MEMORY(shared_memory);
  uint32_t* const maxima = reinterpret_cast<uint32_t*>(shared_memory);
  const FilterTransforms in(transform, blockIdx.y, blockIdx.x, size, segments);
  const int lane = threadIdx.x % 32, warps = blockDim.x / 32;
  float largest = 0;
  for (int factor = 0; factor < segments; ++factor) {
#pragma unroll 4
    for (int k = threadIdx.x; k <= size / 2; k += blockDim.x) {
      const float2 v = in.spectrum(factor, k, false), w = in.spectrum(factor, k, true);
      largest = fmaxf(largest, fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(w.x), fabsf(w.y))));
    }
  }
  const uint32_t own = warp_max(__float_as_uint(largest));
  if (lane == 0) maxima[threadIdx.x / 32] = own;
  __syncthreads();
  const uint32_t bits = warp_max(maxima[lane % warps]);
  // |x| <= 1 in both parts of size / 2 positions has an L2 norm of at most sqrt(size), and so has its transform; |spectrum| <= 1.5 * 2^e,
  // and two segments add up two products. All stays below float16's 2^16.
  int headroom = 15 - segments;
  for (int n = 1; n < size; n *= 4) --headroom;
  if (threadIdx.x == 0) scales[blockIdx.y * 2 + blockIdx.x] = power_of_two(exponent_above(bits) - headroom);
}

// The filters' spectra as the kernels above take them: packed [H, 2, A or A and B, size], then [H, 2] of scales. Grid: tiles of parts for
// each filter and factor; channels.
extern "C" __global__ void __launch_bounds__(256)
    mixer_monarch_spectra(const float2* transform, const float* scales, uint32_t* packed, int size, int segments) {
  M2BERT_SHARED_MEMORY(shared_memory);
  constexpr int PITCH = SpectraTile::PITCH;
  uint32_t* const tile = reinterpret_cast<uint32_t*>(shared_memory);  // [parts][PITCH]: float16 by frequency
  auto place = [](int part, int f) { return part * PITCH + f + (f >> 5) * 4; };
  const int parts = size / 256, own_parts = SpectraTile::parts(parts), tiles = parts / own_parts;
  const int filter = blockIdx.x / (tiles * segments), factor = blockIdx.x / tiles % segments, first = blockIdx.x % tiles * own_parts;
  const FilterTransforms in(transform, blockIdx.y, filter, size, segments);
  const size_t index = size_t(blockIdx.y) * 2 + filter;
  const float scale = 1 / scales[index];
  if (threadIdx.x == 0) packed[size_t(gridDim.y) * 2 * segments * size + index] = __float_as_uint(scales[index]);
#pragma unroll 4
  for (int i = threadIdx.x; i < own_parts * 256; i += 256) {
    const int part = i % own_parts, f = i / own_parts, k = first + part + parts * f;
    const float2 v = in.spectrum(factor, k <= size / 2 ? k : size - k, k > size / 2);
    tile[place(part, f)] = pack_f16(v.x * scale, v.y * scale);
  }
  __syncthreads();
  uint32_t* const out = packed + (index * segments + factor) * size + first * 256;
#pragma unroll 4
  for (int i = threadIdx.x; i < own_parts * 128; i += 256) {
    const int part = i / 128, l = i / 4 % 32, word = i % 4;
    const int f = l / 4 + 8 * (word % 2) + 16 * (2 * (l % 4) + 8 * (word / 2));
    const uint32_t low = tile[place(part, f)], high = tile[place(part, f + 16)];
    out[part * 256 + i % 128] = (low & 0xffff) | high << 16;
    out[part * 256 + 128 + i % 128] = low >> 16 | (high & 0xffff0000u);
  }
}

}  // namespace m2bert::ops::cuda
