#pragma once
// Copies from global to shared memory that do not pass through registers.
#include "m2bert/ops/backend/cuda/scalar.cuh"

namespace m2bert::ops::cuda {

// Without nvcc, tests/ops/backend/cuda/emulation.h defines these functions.
#ifdef __CUDACC__

// Copies 16 bytes, or writes as many zeros where there is nothing to read; both addresses are multiples of 16.
__device__ __forceinline__ void copy_async(void* shared, const void* global, bool exists = true) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(uint32_t(__cvta_generic_to_shared(shared))), "l"(global),
               "r"(exists ? 16 : 0)
               : "memory");
}
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most N groups of this thread's copies are under way.
template <int N>
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

#endif

}  // namespace m2bert::ops::cuda
