// gelu(a) * b for the two halves a, b of an array.
#include "m2bert/ops/backend/cuda/scalar.cuh"

namespace m2bert::ops::cuda {

namespace {

// x cdf(x) of the normal distribution. cdf(x) is close to sigmoid(2 x p(x^2)), absolute error of the product 3e-5.
__device__ __forceinline__ float gelu(float x) {
  const float square = fminf(x * x, 64.0f);
  const float argument = 2 * x * (0.79751f + square * (0.037005f - square * 0.00035146f));
  return x / (1 + __expf(-argument));
}

}  // namespace

// x: 2 size values, y: size; size is a multiple of 8. Grid: 8 values a thread.
extern "C" __global__ void __launch_bounds__(256) gelu_gate(const BFloat16* x, BFloat16* y, int vectors) {
  const size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= size_t(vectors)) return;
  const Vector<BFloat16> a = reinterpret_cast<const Vector<BFloat16>*>(x)[i], b = reinterpret_cast<const Vector<BFloat16>*>(x)[vectors + i];
  Vector<BFloat16> out;
#pragma unroll
  for (int j = 0; j < 8; ++j) out.values[j] = from_float<BFloat16>(gelu(to_float(a.values[j])) * to_float(b.values[j]));
  reinterpret_cast<Vector<BFloat16>*>(y)[i] = out;
}

}  // namespace m2bert::ops::cuda
