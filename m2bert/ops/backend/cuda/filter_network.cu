// Layers of the networks that compute filters, float32: y = sin(freq (x weight^T + bias)) and its gradients, and the decay along the
// sequence. See m2bert/ops/filter_network.h. At most 128 inputs and outputs.
#include "m2bert/ops/backend/cuda/scalar.cuh"
#include "m2bert/ops/backend/cuda/tensor_core.cuh"

namespace m2bert::ops::cuda {

namespace {

constexpr int WIDTH = 128, ROWS = 16, OWN_ROWS = 8, STEP = 32;  // 256 threads: a column and 8 of the block's 16 rows each

struct SineShared {
  float weight[STEP][WIDTH + 1];  // a step of inputs, transposed
  float x[ROWS][STEP];
  float gradient[ROWS][WIDTH];  // of what goes into the sine, over freq
};

struct SineInputs {
  const float *x, *weight, *bias, *freq;
  int rows, in, out;
};

// x weight^T + bias for this thread's column and rows.
__device__ __forceinline__ void affine(const SineInputs& p, SineShared& shared, int column, int row, float* y) {
  for (int i = 0; i < OWN_ROWS; ++i) y[i] = 0;
  for (int first = 0; first < p.in; first += STEP) {
    const int count = min(STEP, p.in - first);
    __syncthreads();
    for (int i = threadIdx.x; i < WIDTH * STEP; i += 256) {
      const int o = i / STEP, j = i % STEP;
      shared.weight[j][o] = o < p.out && j < count ? p.weight[o * p.in + first + j] : 0.0f;
    }
    for (int i = threadIdx.x; i < ROWS * STEP; i += 256) {
      const int r = blockIdx.x * ROWS + i / STEP, j = i % STEP;
      shared.x[i / STEP][j] = r < p.rows && j < count ? p.x[size_t(r) * p.in + first + j] : 0.0f;
    }
    __syncthreads();
#pragma unroll 4
    for (int j = 0; j < count; ++j) {
      const float w = shared.weight[j][column];
#pragma unroll
      for (int i = 0; i < OWN_ROWS; ++i) y[i] += shared.x[row + i][j] * w;
    }
  }
  if (column >= p.out) return;
#pragma unroll
  for (int i = 0; i < OWN_ROWS; ++i) y[i] += p.bias[column];
}

}  // namespace

// Grid: blocks of 16 rows.
extern "C" __global__ void __launch_bounds__(256) sine_linear(const float* x, const float* weight, const float* bias, const float* freq,
                                                               float* y, int rows, int in, int out) {
  M2BERT_SHARED_MEMORY(shared_memory);
  auto& shared = *reinterpret_cast<SineShared*>(shared_memory);
  const int column = threadIdx.x % WIDTH, row = threadIdx.x / WIDTH * OWN_ROWS;
  float a[OWN_ROWS];
  affine({x, weight, bias, freq, rows, in, out}, shared, column, row, a);
  if (column >= out) return;
  for (int i = 0; i < OWN_ROWS; ++i) {
    const int r = blockIdx.x * ROWS + row + i;
    if (r < rows) y[size_t(r) * out + column] = sinf(freq[column] * a[i]);
  }
}

// dx, and what the gradients of the weights are made of: da [rows, out], the gradient of a = x weight^T + bias, and dy cos(freq a) a.
extern "C" __global__ void __launch_bounds__(256) sine_linear_gradient(const float* x, const float* weight, const float* bias,
                                                                        const float* freq, const float* dy, float* dx, float* da,
                                                                        float* dfreq_rows, int rows, int in, int out) {
  M2BERT_SHARED_MEMORY(shared_memory);
  auto& shared = *reinterpret_cast<SineShared*>(shared_memory);
  const int column = threadIdx.x % WIDTH, row = threadIdx.x / WIDTH * OWN_ROWS;
  float a[OWN_ROWS];
  affine({x, weight, bias, freq, rows, in, out}, shared, column, row, a);
  for (int i = 0; i < OWN_ROWS; ++i) {
    const int r = blockIdx.x * ROWS + row + i;
    float gradient = 0;
    if (r < rows && column < out) {
      const size_t at = size_t(r) * out + column;
      const float c = dy[at] * cosf(freq[column] * a[i]);
      gradient = c * freq[column];
      da[at] = gradient;
      dfreq_rows[at] = c * a[i];
    }
    shared.gradient[row + i][column] = gradient;
  }
  __syncthreads();
  if (column >= in) return;
  float sum[OWN_ROWS] = {};
#pragma unroll 4
  for (int o = 0; o < out; ++o) {
    const float w = weight[o * in + column];
#pragma unroll
    for (int i = 0; i < OWN_ROWS; ++i) sum[i] += shared.gradient[row + i][o] * w;
  }
  for (int i = 0; i < OWN_ROWS; ++i) {
    const int r = blockIdx.x * ROWS + row + i;
    if (r < rows) dx[size_t(r) * in + column] = sum[i];
  }
}

// The sums over rows: dweight [out, in] = da^T x, dbias and dfreq [out]. Grid: tiles of 16 inputs, of 16 outputs.
extern "C" __global__ void __launch_bounds__(256) sine_linear_sums(const float* x, const float* da, const float* dfreq_rows, float* dweight,
                                                                    float* dbias, float* dfreq, int rows, int in, int out) {
  constexpr int TILE = 16, CHUNK = 64;
  M2BERT_SHARED_MEMORY(shared_memory);
  float* const left = reinterpret_cast<float*>(shared_memory);  // [CHUNK][TILE] of da
  float* const right = left + CHUNK * TILE;                     // of x
  float* const extra = right + CHUNK * TILE;                    // of dfreq_rows
  const int o = threadIdx.x / TILE, i = threadIdx.x % TILE;
  const int first_o = blockIdx.y * TILE, first_i = blockIdx.x * TILE;
  float sum = 0, column_sum = 0;
  for (int begin = 0; begin < rows; begin += CHUNK) {
    __syncthreads();
    for (int k = threadIdx.x; k < CHUNK * TILE; k += 256) {
      const int r = begin + k / TILE, c = k % TILE;
      const bool there = r < rows, of_out = there && first_o + c < out;
      left[k] = of_out ? da[size_t(r) * out + first_o + c] : 0.0f;
      right[k] = there && first_i + c < in ? x[size_t(r) * in + first_i + c] : 0.0f;
      if (blockIdx.x == 0) extra[k] = of_out ? dfreq_rows[size_t(r) * out + first_o + c] : 0.0f;
    }
    __syncthreads();
#pragma unroll 8
    for (int r = 0; r < CHUNK; ++r) sum += left[r * TILE + o] * right[r * TILE + i];
    if (blockIdx.x != 0 || i > 1) continue;
    const float* column = i == 0 ? left : extra;
    for (int r = 0; r < CHUNK; ++r) column_sum += column[r * TILE + o];
  }
  if (first_o + o >= out) return;
  if (first_i + i < in) dweight[(first_o + o) * in + first_i + i] = sum;
  if (blockIdx.x == 0 && i == 0) dbias[first_o + o] = column_sum;
  if (blockIdx.x == 0 && i == 1) dfreq[first_o + o] = column_sum;
}

// y = x exp(-times |deltas|), a thread an element.
extern "C" __global__ void exponential_decay(const float* x, const float* times, const float* deltas, float* y, int rows, int columns) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < rows * columns) y[i] = x[i] * expf(-times[i / columns] * fabsf(deltas[i % columns]));
}

}  // namespace m2bert::ops::cuda
