// The parameters of a norm and the bias before it as channel_norm.cu takes them, and their gradients.
#include "m2bert/ops/backend/cuda/scalar_array.cuh"

namespace m2bert::ops::cuda {

// y [3, H] float32: the bias before the norm (zeros where there is none), its weight and its bias. wide: bit i, whether the i-th is
// float32, not bfloat16. Grid: blocks of channels.
extern "C" __global__ void norm_parameters(const void* bias, const void* weight, const void* norm_bias, float* y, int H, int wide,
                                           bool has_bias) {
  const int h = blockIdx.x * blockDim.x + threadIdx.x;
  if (h >= H) return;
  y[h] = has_bias ? load_scalar(bias, h, wide & 1) : 0.0f;
  y[H + h] = load_scalar(weight, h, wide & 2);
  y[2 * H + h] = load_scalar(norm_bias, h, wide & 4);
}

// Their gradients, in their dtypes: sums [parts, 3, H] of the weight, the norm's bias and the bias before. Grid: blocks of 32 channels by 8
// parts.
extern "C" __global__ void __launch_bounds__(256)
    norm_parameter_gradients(const float* sums, void* dbias, void* dweight, void* dnorm_bias, int H, int parts, int wide, bool has_bias) {
  M2BERT_SHARED_MEMORY(shared_memory);
  float* const partial = reinterpret_cast<float*>(shared_memory);  // [8][3][32]
  const int lane = threadIdx.x % 32, group = threadIdx.x / 32, h = blockIdx.x * 32 + lane;
  float sum[3] = {};
  for (int part = group; part < parts && h < H; part += 8) {
    for (int i = 0; i < 3; ++i) sum[i] += sums[(size_t(part) * 3 + i) * H + h];
  }
  for (int i = 0; i < 3; ++i) partial[(group * 3 + i) * 32 + lane] = sum[i];
  __syncthreads();
  if (group >= 3 || h >= H) return;
  float total = 0;
  for (int k = 0; k < 8; ++k) total += partial[(k * 3 + group) * 32 + lane];
  if (group == 0) store_scalar(dweight, h, wide & 2, total);
  if (group == 1) store_scalar(dnorm_bias, h, wide & 4, total);
  if (group == 2 && has_bias) store_scalar(dbias, h, wide & 1, total);
}

}  // namespace m2bert::ops::cuda
