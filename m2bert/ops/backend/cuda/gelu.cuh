#pragma once
// GELU, x cdf(x) with the normal distribution's cdf, and its derivative, to an absolute error of 3e-5 and 1e-4.
#include "m2bert/ops/backend/cuda/tensor_core.cuh"

namespace m2bert::ops::cuda {

// Close to cdf(x): sigmoid(2 x p(x^2)).
__device__ __forceinline__ float normal_cdf(float x) {
  const float square = fminf(x * x, 64.0f);
  const float argument = 2 * x * (0.79751f + square * (0.037005f - square * 0.00035146f));
  return __fdividef(1.0f, 1.0f + __expf(-argument));
}

__device__ __forceinline__ float gelu(float x) { return x * normal_cdf(x); }

struct GeluWithDerivative {
  float value, derivative;
};
__device__ __forceinline__ GeluWithDerivative gelu_with_derivative(float x) {
  const float cdf = normal_cdf(x), density = 0.39894228f * __expf(-0.5f * fminf(x * x, 64.0f));
  return {x * cdf, cdf + x * density};
}

}  // namespace m2bert::ops::cuda
