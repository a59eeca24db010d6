// Casts of many arrays in one launch, since most of a model's weights are small.
#include "m2bert/ops/backend/cuda/scalar_array.cuh"

namespace m2bert::ops::cuda {

#define CAST_EACH(f) f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), f(8), f(9), f(10), f(11), f(12), f(13), f(14), f(15)
#define CAST_INPUT(i) const void* x##i
#define CAST_OUTPUT(i) void* y##i
#define CAST_SIZE(i) int n##i
#define CAST_PICK(i) \
  if (blockIdx.y == i) x = x##i, y = y##i, n = n##i

// float32 to bfloat16, or back (widen), of up to 16 arrays, of which those that are not there have size 0. Grid: blocks, arrays.
extern "C" __global__ void __launch_bounds__(256)
    cast_arrays(CAST_EACH(CAST_INPUT), CAST_EACH(CAST_OUTPUT), bool widen, CAST_EACH(CAST_SIZE)) {
  const void* x = x0;
  void* y = y0;
  int n = n0;
  CAST_PICK(1);
  CAST_PICK(2);
  CAST_PICK(3);
  CAST_PICK(4);
  CAST_PICK(5);
  CAST_PICK(6);
  CAST_PICK(7);
  CAST_PICK(8);
  CAST_PICK(9);
  CAST_PICK(10);
  CAST_PICK(11);
  CAST_PICK(12);
  CAST_PICK(13);
  CAST_PICK(14);
  CAST_PICK(15);
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += int64_t(gridDim.x) * blockDim.x) {
    store_scalar(y, i, widen, load_scalar(x, i, !widen));
  }
}

}  // namespace m2bert::ops::cuda
