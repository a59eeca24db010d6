// AdamW's update, the sums of squares of gradients, and all of them as one array, float32. See m2bert/ops/adamw.h. Arrays that are not
// there have size 0. Grid: parts of all arrays.
#include "m2bert/ops/backend/cuda/array_parts.cuh"
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
  if (part.is_behind()) part.skip(n##i), p = Parameter ADAMW_PARAMETER(i)
#define ADAMW_PICK_PARAMETER            \
  Parameter p ADAMW_PARAMETER(0);       \
  ArrayPart part{int(blockIdx.x), p.n}; \
  OTHERS_OF_32(ADAMW_PICK)

namespace {

// scale [1], limit: clipping by norm and by value; root: 1 over the root of the correction of v.
struct Step {
  const float* scale;
  float limit, beta1, beta2, eps, root;
};

__device__ __forceinline__ void update(const Parameter& p, const ArrayPart& part, const Step& s) {
  const float scale = *s.scale;
  const bool keeps = scale != scale;  // NaN: no update
  if (keeps && p.new_value == p.value) return;
  const int64_t first = part.first();
  const bool wide =
      are_aligned(p.value, p.gradient) && are_aligned(p.m, p.v) && are_aligned(p.new_value, p.new_m) && are_aligned(p.new_v, nullptr);
  each_four(part.count(), [&](int i, int count) {
    float value[4], gradient[4], m[4], v[4];
    load_four(p.value + first + i, count, wide, value), load_four(p.gradient + first + i, count, wide, gradient);
    load_four(p.m + first + i, count, wide, m), load_four(p.v + first + i, count, wide, v);
#pragma unroll
    for (int j = 0; j < 4 && !keeps; ++j) {
      const float scaled = gradient[j] * scale, g = scaled > s.limit ? s.limit : scaled < -s.limit ? -s.limit : scaled;
      m[j] = s.beta1 * m[j] + (1 - s.beta1) * g, v[j] = s.beta2 * v[j] + (1 - s.beta2) * (g * g);
      value[j] = p.keep * value[j] - p.rate * m[j] / (sqrtf(v[j]) * s.root + s.eps);
    }
    store_four(p.new_value + first + i, count, wide, value);
    store_four(p.new_m + first + i, count, wide, m), store_four(p.new_v + first + i, count, wide, v);
  });
}

}  // namespace

extern "C" __global__ void __launch_bounds__(PART_THREADS)
    adamw(EACH_OF_32(ADAMW_INPUTS), const float* scale, EACH_OF_32(ADAMW_OUTPUTS), float limit, float beta1, float beta2, float eps,
          float root, EACH_OF_32(ADAMW_SCALARS)) {
  ADAMW_PICK_PARAMETER;
  update(p, part, {scale, limit, beta1, beta2, eps, root});
}

// The new values take the place of the old ones. The unnamed output [1] is there for MLX to evaluate; nothing is written to it.
#undef ADAMW_INPUTS
#undef ADAMW_PARAMETER
#define ADAMW_INPUTS(i) float *value##i, const float *gradient##i, float *m##i, float *v##i
#define ADAMW_PARAMETER(i) {value##i, gradient##i, m##i, v##i, value##i, m##i, v##i, n##i, keep##i, rate##i}
extern "C" __global__ void __launch_bounds__(PART_THREADS)
    adamw_in_place(EACH_OF_32(ADAMW_INPUTS), const float* scale, float*, float limit, float beta1, float beta2, float eps, float root,
                   EACH_OF_32(ADAMW_SCALARS)) {
  ADAMW_PICK_PARAMETER;
  update(p, part, {scale, limit, beta1, beta2, eps, root});
}

#define SQUARES_INPUT(i) const float* x##i
#define SQUARES_SIZE(i) int n##i
#define SQUARES_PICK(i) \
  if (part.is_behind()) part.skip(n##i), x = x##i

// sums [gridDim.x]: of squares of a part.
extern "C" __global__ void __launch_bounds__(PART_THREADS)
    sum_of_squares(EACH_OF_32(SQUARES_INPUT), float* sums, EACH_OF_32(SQUARES_SIZE)) {
  M2BERT_SHARED_MEMORY(shared_memory);
  float* const partial = reinterpret_cast<float*>(shared_memory);  // [warps]
  const float* x = x0;
  ArrayPart part{int(blockIdx.x), n0};
  OTHERS_OF_32(SQUARES_PICK);
  x += part.first();
  const bool wide = are_aligned(x, nullptr);
  float sum = 0;
  each_four(part.count(), [&](int i, int count) {
    float values[4];
    load_four(x + i, count, wide, values);
#pragma unroll
    for (int j = 0; j < 4; ++j) sum += values[j] * values[j];
  });
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int i = 1; i < PART_THREADS / 32; ++i) sum += partial[i];
  sums[blockIdx.x] = sum;
}

#define FLATTEN_PICK(i) \
  if (part.is_behind()) begin += part.n, part.skip(n##i), x = x##i

// y: the arrays one after another.
extern "C" __global__ void __launch_bounds__(PART_THREADS) flatten_arrays(EACH_OF_32(SQUARES_INPUT), float* y, EACH_OF_32(SQUARES_SIZE)) {
  const float* x = x0;
  int begin = 0;
  ArrayPart part{int(blockIdx.x), n0};
  OTHERS_OF_32(FLATTEN_PICK);
  x += part.first(), y += begin + part.first();
  const bool wide = are_aligned(x, y);
  each_four(part.count(), [&](int i, int count) {
    float values[4];
    load_four(x + i, count, wide, values);
    store_four(y + i, count, wide, values);
  });
}

}  // namespace m2bert::ops::cuda
