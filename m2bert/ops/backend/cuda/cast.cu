// float32 to bfloat16 and back, up to 16 arrays a launch: those of index blockIdx.y. Arrays that are not there have size 0.
#include "m2bert/ops/backend/cuda/scalar.cuh"
#include "m2bert/ops/backend/cuda/tensor_core.cuh"

namespace m2bert::ops::cuda {

namespace {

template <typename From, typename To>
__device__ __forceinline__ void cast(const From* x, To* y, int n) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) y[i] = from_float<To>(to_float(x[i]));
}

}  // namespace

#define CAST_EACH(f) f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), f(8), f(9), f(10), f(11), f(12), f(13), f(14), f(15)
#define CAST_SIZE(i) int n##i
#define CAST_PICK(i) \
  if (blockIdx.y == i) x = x##i, y = y##i, n = n##i
#define CAST_KERNEL(name, From, To)                                                                              \
  extern "C" __global__ void __launch_bounds__(256) name(CAST_EACH(CAST_INPUT), CAST_EACH(CAST_OUTPUT), CAST_EACH(CAST_SIZE)) { \
    const From* x = x0;                                                                                          \
    To* y = y0;                                                                                                  \
    int n = n0;                                                                                                  \
    CAST_PICK(1);                                                                                                \
    CAST_PICK(2);                                                                                                \
    CAST_PICK(3);                                                                                                \
    CAST_PICK(4);                                                                                                \
    CAST_PICK(5);                                                                                                \
    CAST_PICK(6);                                                                                                \
    CAST_PICK(7);                                                                                                \
    CAST_PICK(8);                                                                                                \
    CAST_PICK(9);                                                                                                \
    CAST_PICK(10);                                                                                               \
    CAST_PICK(11);                                                                                               \
    CAST_PICK(12);                                                                                               \
    CAST_PICK(13);                                                                                               \
    CAST_PICK(14);                                                                                               \
    CAST_PICK(15);                                                                                               \
    cast(x, y, n);                                                                                               \
  }

#define CAST_INPUT(i) const float* x##i
#define CAST_OUTPUT(i) BFloat16* y##i
CAST_KERNEL(cast_to_bfloat16, float, BFloat16)
#undef CAST_INPUT
#undef CAST_OUTPUT
#define CAST_INPUT(i) const BFloat16* x##i
#define CAST_OUTPUT(i) float* y##i
CAST_KERNEL(cast_to_float32, BFloat16, float)

}  // namespace m2bert::ops::cuda
