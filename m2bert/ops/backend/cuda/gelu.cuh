#pragma once
// GELU, x cdf(x) with the normal distribution's cdf, and its derivative, to an absolute error of 3e-5 and 1e-4.
#include "m2bert/ops/backend/cuda/tensor_core.cuh"

namespace m2bert::ops::cuda {

// One instruction each.
#ifdef __CUDACC__
__device__ __forceinline__ float power_of_2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ float reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
#else
inline float power_of_2(float x) { return std::exp2(x); }
inline float reciprocal(float x) { return 1 / x; }
#endif

constexpr float LOG2_E = 1.44269504f;

// Close to cdf(x): sigmoid(2 x p(x^2)).
__device__ __forceinline__ float normal_cdf(float x) {
  constexpr float factor = -2 * LOG2_E;
  const float square = fminf(x * x, 64.0f);
  return reciprocal(1 + power_of_2(x * (factor * 0.79751f + square * (factor * 0.037005f - square * (factor * 0.00035146f)))));
}

__device__ __forceinline__ float gelu(float x) { return x * normal_cdf(x); }

struct GeluWithDerivative {
  float value, derivative;
};
__device__ __forceinline__ GeluWithDerivative gelu_with_derivative(float x) {
  constexpr float log2_of_peak = -1.32574806f;  // the density at 0 is 1 / sqrt(2 pi)
  const float cdf = normal_cdf(x), density = power_of_2(log2_of_peak - 0.5f * LOG2_E * fminf(x * x, 64.0f));
  return {x * cdf, cdf + x * density};
}

}  // namespace m2bert::ops::cuda
