// Casts of many arrays in one launch, since most of a model's weights are small.
#include "m2bert/ops/backend/cuda/numbered.cuh"
#include "m2bert/ops/backend/cuda/scalar_array.cuh"

namespace m2bert::ops::cuda {

#define CAST_INPUT(i) const void* x##i
#define CAST_OUTPUT(i) void* y##i
#define CAST_SIZE(i) int n##i
#define CAST_PICK(i) \
  if (blockIdx.y == i) x = x##i, y = y##i, n = n##i

// float32 to bfloat16, or back (widen), of up to 16 arrays, of which those that are not there have size 0. Grid: blocks, arrays.
extern "C" __global__ void __launch_bounds__(256)
    cast_arrays(EACH_OF_16(CAST_INPUT), EACH_OF_16(CAST_OUTPUT), bool widen, EACH_OF_16(CAST_SIZE)) {
  const void* x = x0;
  void* y = y0;
  int n = n0;
  OTHERS_OF_16(CAST_PICK);
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += int64_t(gridDim.x) * blockDim.x) {
    store_scalar(y, i, widen, load_scalar(x, i, !widen));
  }
}

}  // namespace m2bert::ops::cuda
