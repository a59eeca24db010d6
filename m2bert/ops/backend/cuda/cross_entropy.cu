// Cross entropy of rows of logits in bfloat16, and its gradient. A block of 256 threads does a row. See m2bert/ops/cross_entropy.h.
#include "m2bert/ops/backend/cuda/scalar.cuh"
#include "m2bert/ops/backend/cuda/tensor_core.cuh"

namespace m2bert::ops::cuda {

namespace {

constexpr int LOGITS = 8;  // a thread reads at once

// f(class, logit) for this thread's classes of a row; whole: rows begin at multiples of 16 bytes.
template <typename F>
__device__ __forceinline__ void each_logit(const BFloat16* row, int classes, F f) {
  const bool whole = classes % LOGITS == 0;
  for (int c = threadIdx.x * LOGITS; c < classes; c += blockDim.x * LOGITS) {
    Vector<BFloat16> values;
    if (whole) values = *reinterpret_cast<const Vector<BFloat16>*>(row + c);
#pragma unroll
    for (int i = 0; i < LOGITS; ++i) {
      if (c + i < classes) f(c + i, to_float(whole ? values.values[i] : row[c + i]));
    }
  }
}

// The largest of some logits, and the sum of exp(x - most); add() joins another set.
struct ExpSum {
  float most, sum;
  __device__ __forceinline__ void add(const ExpSum& o) {
    const float top = fmaxf(most, o.most);
    if (top == -INFINITY) return;
    sum = sum * __expf(most - top) + o.sum * __expf(o.most - top);
    most = top;
  }
};

}  // namespace

// Grid: rows. x [rows, classes], labels [rows]; losses, log_sums [rows]. A label that is no class has the loss NaN.
extern "C" __global__ void __launch_bounds__(256)
    cross_entropy(const BFloat16* x, const int* labels, float* losses, float* log_sums, int classes) {
  M2BERT_SHARED_MEMORY(shared_memory);
  ExpSum* const partial = reinterpret_cast<ExpSum*>(shared_memory);  // [warps]
  const BFloat16* row = x + size_t(blockIdx.x) * classes;
  ExpSum own{-INFINITY, 0};
  bool nan = false;
  each_logit(row, classes, [&](int, float value) {
    nan |= value != value;
    if (value > own.most) own.sum *= __expf(own.most - value), own.most = value;
    if (own.most > -INFINITY) own.sum += __expf(value - own.most);
  });
  if (nan) own = {0, NAN};
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    own.add({__shfl_xor_sync(~0u, own.most, offset), __shfl_xor_sync(~0u, own.sum, offset)});
  }
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = own;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int i = 1; i < int(blockDim.x) / 32; ++i) own.add(partial[i]);
  const float log_sum = own.most + logf(own.sum);
  const int label = labels[blockIdx.x];
  log_sums[blockIdx.x] = log_sum;
  losses[blockIdx.x] = label >= 0 && label < classes ? log_sum - to_float(row[label]) : NAN;
}

// Grid: rows. dlosses [rows]; dx [rows, classes].
extern "C" __global__ void __launch_bounds__(256)
    cross_entropy_gradient(const BFloat16* x, const int* labels, const float* log_sums, const float* dlosses, BFloat16* dx, int classes) {
  const BFloat16* row = x + size_t(blockIdx.x) * classes;
  BFloat16* out = dx + size_t(blockIdx.x) * classes;
  const int label = labels[blockIdx.x];
  const float log_sum = log_sums[blockIdx.x], dloss = dlosses[blockIdx.x];
  Vector<BFloat16> values;
  each_logit(row, classes, [&](int c, float value) {
    const float probability = __expf(value - log_sum);
    const BFloat16 gradient = from_float<BFloat16>(dloss * (c == label ? probability - 1 : probability));
    if (classes % LOGITS != 0) {
      out[c] = gradient;
      return;
    }
    values.values[c % LOGITS] = gradient;
    if (c % LOGITS == LOGITS - 1) *reinterpret_cast<Vector<BFloat16>*>(out + c - (LOGITS - 1)) = values;
  });
}

}  // namespace m2bert::ops::cuda
