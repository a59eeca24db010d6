// AdamW's update, the sums of squares of gradients, and all of them as one array, float32. See m2bert/ops/adamw.h. A launch does several
// arrays, since most of a model's are small: those of index blockIdx.y. Arrays that are not there have size 0.
#include "m2bert/ops/backend/cuda/numbered.cuh"
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

#define ADAMW_PICK(i) \
  if (blockIdx.y == i) p = Parameter ADAMW_PARAMETER(i)
#define ADAMW_PICK_PARAMETER      \
  Parameter p ADAMW_PARAMETER(0); \
  OTHERS_OF_32(ADAMW_PICK)

namespace {

// scale [1], limit: clipping by norm and by value; root: 1 over the root of the correction of v.
struct Step {
  const float* scale;
  float limit, beta1, beta2, eps, root;
};

__device__ __forceinline__ void update(const Parameter& p, const Step& s) {
  const float scale = *s.scale;
  const bool keeps = scale != scale;  // NaN: no update
  if (keeps && p.new_value == p.value) return;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < p.n; i += gridDim.x * blockDim.x) {
    if (keeps) {
      p.new_value[i] = p.value[i];
      p.new_m[i] = p.m[i];
      p.new_v[i] = p.v[i];
      continue;
    }
    const float scaled = p.gradient[i] * scale, g = scaled > s.limit ? s.limit : scaled < -s.limit ? -s.limit : scaled;
    const float a = s.beta1 * p.m[i] + (1 - s.beta1) * g, b = s.beta2 * p.v[i] + (1 - s.beta2) * (g * g);
    p.new_value[i] = p.keep * p.value[i] - p.rate * a / (sqrtf(b) * s.root + s.eps);
    p.new_m[i] = a;
    p.new_v[i] = b;
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(256)
    adamw(EACH_OF_32(ADAMW_INPUTS), const float* scale, EACH_OF_32(ADAMW_OUTPUTS), float limit, float beta1, float beta2, float eps,
          float root, EACH_OF_32(ADAMW_SCALARS)) {
  ADAMW_PICK_PARAMETER;
  update(p, {scale, limit, beta1, beta2, eps, root});
}

// The new values take the place of the old ones. The unnamed output [1] is there for MLX to evaluate; nothing is written to it.
#undef ADAMW_INPUTS
#undef ADAMW_PARAMETER
#define ADAMW_INPUTS(i) float *value##i, const float *gradient##i, float *m##i, float *v##i
#define ADAMW_PARAMETER(i) {value##i, gradient##i, m##i, v##i, value##i, m##i, v##i, n##i, keep##i, rate##i}
extern "C" __global__ void __launch_bounds__(256)
    adamw_in_place(EACH_OF_32(ADAMW_INPUTS), const float* scale, float*, float limit, float beta1, float beta2, float eps, float root,
                   EACH_OF_32(ADAMW_SCALARS)) {
  ADAMW_PICK_PARAMETER;
  update(p, {scale, limit, beta1, beta2, eps, root});
}

#define SQUARES_INPUT(i) const float* x##i
#define SQUARES_SIZE(i) int n##i
#define SQUARES_PICK(i) \
  if (blockIdx.y == i) x = x##i, n = n##i

// sums [arrays, gridDim.x]: of squares, each block its share.
extern "C" __global__ void __launch_bounds__(256) sum_of_squares(EACH_OF_32(SQUARES_INPUT), float* sums, EACH_OF_32(SQUARES_SIZE)) {
  M2BERT_SHARED_MEMORY(shared_memory);
  float* const partial = reinterpret_cast<float*>(shared_memory);  // [warps]
  const float* x = x0;
  int n = n0;
  OTHERS_OF_32(SQUARES_PICK);
  float sum = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) sum += x[i] * x[i];
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int i = 1; i < int(blockDim.x) / 32; ++i) sum += partial[i];
  sums[blockIdx.y * gridDim.x + blockIdx.x] = sum;
}

#define FLATTEN_PICK(i) \
  if (blockIdx.y >= i) x = x##i, begin += n, n = n##i

// y: the arrays one after another.
extern "C" __global__ void __launch_bounds__(256) flatten_arrays(EACH_OF_32(SQUARES_INPUT), float* y, EACH_OF_32(SQUARES_SIZE)) {
  const float* x = x0;
  int n = n0, begin = 0;
  OTHERS_OF_32(FLATTEN_PICK);
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) y[begin + i] = x[i];
}

}  // namespace m2bert::ops::cuda
