// AdamW's update, and the sums of squares of gradients, float32. See m2bert/ops/adamw.h. A launch does several arrays, since most of a
// model's are small: those of index blockIdx.y. Arrays that are not there have size 0.
#include "m2bert/ops/backend/cuda/scalar.cuh"
#include "m2bert/ops/backend/cuda/tensor_core.cuh"

namespace m2bert::ops::cuda {

namespace {

// One array. keep: 1 - weight decay; rate: the learning rate over the correction of m.
struct Parameter {
  const float *value, *gradient, *m, *v;
  float *new_value, *new_m, *new_v;
  int n;
  float keep, rate;
};

}  // namespace

#define ADAMW_INPUTS(i) const float *value##i, const float *gradient##i, const float *m##i, const float *v##i
#define ADAMW_OUTPUTS(i) float *new_value##i, float *new_m##i, float *new_v##i
#define ADAMW_SCALARS(i) int n##i, float keep##i, float rate##i
#define ADAMW_PARAMETER(i) {value##i, gradient##i, m##i, v##i, new_value##i, new_m##i, new_v##i, n##i, keep##i, rate##i}
#define ADAMW_EACH(f) f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7)

// scale, limit: clipping by norm and by value; root: 1 over the root of the correction of v.
extern "C" __global__ void __launch_bounds__(256) adamw(ADAMW_EACH(ADAMW_INPUTS), ADAMW_EACH(ADAMW_OUTPUTS), float scale, float limit,
                                                         float beta1, float beta2, float eps, float root, ADAMW_EACH(ADAMW_SCALARS)) {
  const Parameter all[] = {ADAMW_EACH(ADAMW_PARAMETER)};
  Parameter p = all[0];
#pragma unroll
  for (int i = 1; i < 8; ++i) {
    if (int(blockIdx.y) == i) p = all[i];
  }
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < p.n; i += gridDim.x * blockDim.x) {
    const float scaled = p.gradient[i] * scale, g = scaled > limit ? limit : scaled < -limit ? -limit : scaled;
    const float a = beta1 * p.m[i] + (1 - beta1) * g, b = beta2 * p.v[i] + (1 - beta2) * (g * g);
    p.new_m[i] = a;
    p.new_v[i] = b;
    p.new_value[i] = p.keep * p.value[i] - p.rate * a / (sqrtf(b) * root + eps);
  }
}

#define SQUARES_EACH(f) f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), f(8), f(9), f(10), f(11), f(12), f(13), f(14), f(15)
#define SQUARES_INPUT(i) const float* x##i
#define SQUARES_SIZE(i) int n##i
#define SQUARES_POINTER(i) x##i
#define SQUARES_COUNT(i) n##i

// sums [arrays, gridDim.x]: of squares, each block its share.
extern "C" __global__ void __launch_bounds__(256) sum_of_squares(SQUARES_EACH(SQUARES_INPUT), float* sums, SQUARES_EACH(SQUARES_SIZE)) {
  M2BERT_SHARED_MEMORY(shared_memory);
  float* const partial = reinterpret_cast<float*>(shared_memory);  // [warps]
  const float* const all[] = {SQUARES_EACH(SQUARES_POINTER)};
  const int sizes[] = {SQUARES_EACH(SQUARES_COUNT)};
  const float* x = all[0];
  int n = sizes[0];
#pragma unroll
  for (int i = 1; i < 16; ++i) {
    if (int(blockIdx.y) == i) x = all[i], n = sizes[i];
  }
  float sum = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) sum += x[i] * x[i];
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(~0u, sum, offset);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int i = 1; i < int(blockDim.x) / 32; ++i) sum += partial[i];
  sums[blockIdx.y * gridDim.x + blockIdx.x] = sum;
}

}  // namespace m2bert::ops::cuda
