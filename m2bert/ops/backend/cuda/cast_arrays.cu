// Casts of many arrays in one launch.
#include "m2bert/ops/backend/cuda/array_parts.cuh"

namespace m2bert::ops::cuda {

#define CAST_INPUT(i) const void* x##i
#define CAST_OUTPUT(i) void* y##i
#define CAST_SIZE(i) int n##i
#define CAST_PICK(i) \
  if (part.is_behind()) part.skip(n##i), x = x##i, y = y##i

namespace {

template <typename From, typename To>
__device__ __forceinline__ void cast(const void* from, void* to, const ArrayPart& part) {
  const From* x = static_cast<const From*>(from) + part.first();
  To* y = static_cast<To*>(to) + part.first();
  const bool wide = are_aligned(x, y);
  each_four(part.count(), [&](int i, int count) {
    float values[4];
    load_four(x + i, count, wide, values);
    store_four(y + i, count, wide, values);
  });
}

}  // namespace

// float32 to bfloat16, or back (widen), of up to 16 arrays, of which those that are not there have size 0. Grid: parts of all arrays.
extern "C" __global__ void __launch_bounds__(PART_THREADS)
    cast_arrays(EACH_OF_16(CAST_INPUT), EACH_OF_16(CAST_OUTPUT), bool widen, EACH_OF_16(CAST_SIZE)) {
  const void* x = x0;
  void* y = y0;
  ArrayPart part{int(blockIdx.x), n0};
  OTHERS_OF_16(CAST_PICK);
  if (widen) {
    cast<BFloat16, float>(x, y, part);
  } else {
    cast<float, BFloat16>(x, y, part);
  }
}

}  // namespace m2bert::ops::cuda
