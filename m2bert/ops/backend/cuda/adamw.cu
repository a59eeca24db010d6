// AdamW's update, and the sum of squares of a gradient, float32. See m2bert/ops/adamw.h.
#include "m2bert/ops/backend/cuda/scalar.cuh"
#include "m2bert/ops/backend/cuda/tensor_core.cuh"

namespace m2bert::ops::cuda {

// A thread an element. keep: 1 - weight decay; rate: the learning rate over the correction of m; root: 1 over the root of that of v.
extern "C" __global__ void adamw(const float* value, const float* gradient, const float* m, const float* v, float* new_value, float* new_m,
                                 float* new_v, int n, float scale, float limit, float beta1, float beta2, float eps, float keep, float rate,
                                 float root) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const float scaled = gradient[i] * scale, g = scaled > limit ? limit : scaled < -limit ? -limit : scaled;
  const float a = beta1 * m[i] + (1 - beta1) * g, b = beta2 * v[i] + (1 - beta2) * (g * g);
  new_m[i] = a;
  new_v[i] = b;
  new_value[i] = keep * value[i] - rate * a / (sqrtf(b) * root + eps);
}

// sums [blocks]: of the squares of n values, each block its share. 256 threads.
extern "C" __global__ void sum_of_squares(const float* x, float* sums, int n) {
  M2BERT_SHARED_MEMORY(shared_memory);
  float* const partial = reinterpret_cast<float*>(shared_memory);  // [warps]
  float sum = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) sum += x[i] * x[i];
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(~0u, sum, offset);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int i = 1; i < int(blockDim.x) / 32; ++i) sum += partial[i];
  sums[blockIdx.x] = sum;
}

}  // namespace m2bert::ops::cuda
