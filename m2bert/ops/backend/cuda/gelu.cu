// GELU of bfloat16 values, and its gradient, with float32's relative precision by erfc, where the gates' fit (gelu.cuh) has an absolute
// one. A thread does 8 values.
#include "m2bert/ops/backend/cuda/chunk.cuh"

namespace m2bert::ops::cuda {

namespace {

__device__ __forceinline__ float exact_cdf(float x) { return 0.5f * erfcf(-0.70710678f * x); }

// y[i] = f(x[i], dy[i]) for this thread's values.
template <typename F>
__device__ __forceinline__ void each_value(const BFloat16* x, const BFloat16* dy, BFloat16* y, int n, F f) {
  const int64_t first = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * CHUNK;
  if (first >= n) return;
  const int count = int(n - first < CHUNK ? n - first : CHUNK);
  const bool whole = count == CHUNK && are_aligned(x, dy) && are_aligned(y, y);
  auto load = [&](const BFloat16* from, float* values) {
    unpack(whole ? load_chunk<true>(from + first, count) : load_chunk<false>(from + first, count), values);
  };
  float a[CHUNK], b[CHUNK];
  load(x, a), load(dy, b);
#pragma unroll
  for (int i = 0; i < CHUNK; ++i) a[i] = f(a[i], b[i]);
  whole ? store_chunk<true>(y + first, count, pack(a)) : store_chunk<false>(y + first, count, pack(a));
}

}  // namespace

extern "C" __global__ void __launch_bounds__(256) gelu_values(const BFloat16* x, BFloat16* y, int n) {
  each_value(x, x, y, n, [](float x, float) { return x * exact_cdf(x); });
}

extern "C" __global__ void __launch_bounds__(256) gelu_values_gradient(const BFloat16* x, const BFloat16* dy, BFloat16* dx, int n) {
  each_value(x, dy, dx, n, [](float x, float d) {
    const float density = 0.39894228f * expf(-0.5f * x * x);
    return d * (exact_cdf(x) + (density > 0 ? x * density : 0.0f));
  });
}

}  // namespace m2bert::ops::cuda
