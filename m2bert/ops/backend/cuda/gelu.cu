// GELU of bfloat16 values, and its gradient, to the precision of float32: unlike in a gate, which multiplies by something large, small
// values are exact too. A thread does 8 values.
#include "m2bert/ops/backend/cuda/chunk.cuh"

namespace m2bert::ops::cuda {

namespace {

__device__ __forceinline__ float exact_cdf(float x) { return 0.5f * erfcf(-0.70710678f * x); }

}  // namespace

extern "C" __global__ void __launch_bounds__(256) gelu_values(const BFloat16* x, BFloat16* y, int n) {
  const int first = (blockIdx.x * blockDim.x + threadIdx.x) * CHUNK, count = n - first;
  if (count <= 0) return;
  float values[CHUNK];
  unpack(count >= CHUNK ? load_chunk<true>(x + first, count) : load_chunk<false>(x + first, count), values);
#pragma unroll
  for (int i = 0; i < CHUNK; ++i) values[i] *= exact_cdf(values[i]);
  count >= CHUNK ? store_chunk<true>(y + first, count, pack(values)) : store_chunk<false>(y + first, count, pack(values));
}

extern "C" __global__ void __launch_bounds__(256) gelu_values_gradient(const BFloat16* x, const BFloat16* dy, BFloat16* dx, int n) {
  const int first = (blockIdx.x * blockDim.x + threadIdx.x) * CHUNK, count = n - first;
  if (count <= 0) return;
  float values[CHUNK], gradients[CHUNK];
  unpack(count >= CHUNK ? load_chunk<true>(x + first, count) : load_chunk<false>(x + first, count), values);
  unpack(count >= CHUNK ? load_chunk<true>(dy + first, count) : load_chunk<false>(dy + first, count), gradients);
#pragma unroll
  for (int i = 0; i < CHUNK; ++i) {
    const float x = values[i], density = 0.39894228f * expf(-0.5f * x * x);
    gradients[i] *= exact_cdf(x) + (density > 0 ? x * density : 0.0f);
  }
  count >= CHUNK ? store_chunk<true>(dx + first, count, pack(gradients)) : store_chunk<false>(dx + first, count, pack(gradients));
}

}  // namespace m2bert::ops::cuda
