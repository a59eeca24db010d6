// LayerNorm over rows of float32 or bfloat16, with a residual that is added first, and its gradient: a warp for each row, in registers.
#include "m2bert/ops/backend/cuda/row_norm.cuh"

namespace m2bert::ops::cuda {

namespace {

// What is normalized: x, or x + residual if that is not null.
template <typename T>
struct NormRows {
  const T *x, *residual;
  int H;
  bool aligned;
  __device__ __forceinline__ NormRows(const T* x, const T* residual, bool adds, int H)
      : x(x), residual(adds ? residual : nullptr), H(H), aligned(are_aligned(x, residual)) {}
  template <int PASSES>
  __device__ __forceinline__ void load(int row, float (*v)[CHUNK]) const {
    const size_t first = size_t(row) * H;
#pragma unroll
    for (int k = 0; k < PASSES; ++k) {
      const int column = CHUNK * (int(threadIdx.x % 32) + 32 * k);
      float other[CHUNK] = {};
#pragma unroll
      for (int j = 0; j < CHUNK; ++j) v[k][j] = 0;
      if (column >= H) continue;
      load_columns(x + first + column, aligned, v[k]);
      if (residual) load_columns(residual + first + column, aligned, other);
#pragma unroll
      for (int j = 0; j < CHUNK; ++j) v[k][j] += other[j];
    }
  }
};

template <typename T, int PASSES>
__device__ __forceinline__ void normalize(const NormRows<T>& in, const NormVector& weight, const NormVector& bias, T* y, int rows,
                                          float eps) {
  const int row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  if (row >= rows) return;
  float v[PASSES][CHUNK];
  in.template load<PASSES>(row, v);
  store_normalized<T, PASSES>(v, weight, bias, in.H, eps, y + size_t(row) * in.H);
}

// With n = (x - mean) scale and g = weight dy: dx = scale (g - mean(g) - n mean(g n)); the gradients of weight and bias are the sums of
// dy n and dy over all rows. A block adds up those of its rows, always in the same order.
template <typename T, int PASSES>
__device__ __forceinline__ void differentiate(const NormRows<T>& in, const NormVector& weight, const T* dy, T* dx, float* partial, int rows,
                                              float eps) {
  M2BERT_SHARED_MEMORY(shared_memory);
  float* const sums = reinterpret_cast<float*>(shared_memory);  // [2][H]
  const int H = in.H, lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  const NormRows<T> gradient(dy, dy, false, H);
  float dw[PASSES][CHUNK] = {}, db[PASSES][CHUNK] = {};
  for (int row = blockIdx.x * warps + warp; row < rows; row += gridDim.x * warps) {
    float v[PASSES][CHUNK], g[PASSES][CHUNK];
    in.template load<PASSES>(row, v);
    gradient.template load<PASSES>(row, g);
    const RowStatistics statistics = row_statistics<PASSES>(v, H, eps);
    float sum = 0, product = 0;
#pragma unroll
    for (int k = 0; k < PASSES; ++k) {
      const int chunk = lane + 32 * k;
      if (chunk * CHUNK >= H) continue;
      float w[CHUNK];
      weight.load(chunk, w);
#pragma unroll
      for (int j = 0; j < CHUNK; ++j) {
        v[k][j] = (v[k][j] - statistics.mean) * statistics.scale;
        dw[k][j] += g[k][j] * v[k][j];
        db[k][j] += g[k][j];
        g[k][j] *= w[j];
        sum += g[k][j];
        product += g[k][j] * v[k][j];
      }
    }
    const float mean = sum_lanes<32>(sum) / float(H), slope = sum_lanes<32>(product) / float(H);
#pragma unroll
    for (int k = 0; k < PASSES; ++k) {
      const int chunk = lane + 32 * k;
      if (chunk * CHUNK >= H) continue;
#pragma unroll
      for (int j = 0; j < CHUNK; ++j) g[k][j] = statistics.scale * (g[k][j] - mean - v[k][j] * slope);
      store_columns(dx + size_t(row) * H + chunk * CHUNK, g[k]);
    }
  }
  for (int i = 0; i < warps; ++i) {
    if (i == warp) {
#pragma unroll
      for (int k = 0; k < PASSES; ++k) {
        const int chunk = lane + 32 * k;
        if (chunk * CHUNK >= H) continue;
#pragma unroll
        for (int j = 0; j < CHUNK; ++j) {
          const int column = chunk * CHUNK + j;
          sums[column] = (i ? sums[column] : 0) + dw[k][j];
          sums[H + column] = (i ? sums[H + column] : 0) + db[k][j];
        }
      }
    }
    __syncthreads();
  }
  for (int i = threadIdx.x; i < 2 * H; i += blockDim.x) partial[size_t(blockIdx.x) * 2 * H + i] = sums[i];
}

}  // namespace

// y [rows, H] = norm(x + residual) weight + bias; adds: whether there is a residual. wide: bits 0 and 1 say that weight and bias are
// float32, not bfloat16. H is a multiple of 8, at most 256 `passes`. Grid: 8 rows a block, 256 threads.
#define M2BERT_LAYER_NORM(name, T, passes)                                                                                               \
  extern "C" __global__ void __launch_bounds__(256)                                                                                      \
      name(const T* x, const T* residual, const void* weight, const void* bias, T* y, int rows, int H, float eps, bool adds, int wide) { \
    normalize<T, passes>(NormRows<T>(x, residual, adds, H), {weight, (wide & 1) != 0}, {bias, (wide & 2) != 0}, y, rows, eps);           \
  }
// dx is the gradient of x and of the residual. partial [blocks, 2, H]: sums of the gradients of weight and bias. Grid: any; 256 threads and
// 8 H bytes of shared memory.
#define M2BERT_LAYER_NORM_GRADIENT(name, T, passes)                                                                             \
  extern "C" __global__ void __launch_bounds__(256) name(const T* x, const T* residual, const void* weight, const T* dy, T* dx, \
                                                         float* partial, int rows, int H, float eps, bool adds, int wide) {     \
    differentiate<T, passes>(NormRows<T>(x, residual, adds, H), {weight, (wide & 1) != 0}, dy, dx, partial, rows, eps);         \
  }

M2BERT_LAYER_NORM(layer_norm_float32, float, 4)
M2BERT_LAYER_NORM(layer_norm_bfloat16, BFloat16, 4)
M2BERT_LAYER_NORM(layer_norm_float32_2048, float, 8)
M2BERT_LAYER_NORM(layer_norm_bfloat16_2048, BFloat16, 8)
M2BERT_LAYER_NORM_GRADIENT(layer_norm_gradient_float32, float, 4)
M2BERT_LAYER_NORM_GRADIENT(layer_norm_gradient_bfloat16, BFloat16, 4)

}  // namespace m2bert::ops::cuda
