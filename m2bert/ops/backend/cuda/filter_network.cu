// The networks that compute a mixer's filters, float32, up to four in a launch: layers y = sin(freq (x weight^T + bias)) with their
// gradients, and the decay along the sequence. See m2bert/ops/filter_network.h. At most 128 inputs and outputs of a layer.
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
#pragma unroll
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

// One of four.
template <typename T>
__device__ __forceinline__ T* pick(int i, T* a, T* b, T* c, T* d) {
  return i == 0 ? a : i == 1 ? b : i == 2 ? c : d;
}

}  // namespace

#define FOUR(name) const float *name##0, const float *name##1, const float *name##2, const float *name##3
#define FOUR_OF(name, i) pick(i, name##0, name##1, name##2, name##3)
#define SINE_INPUTS FOUR(x), FOUR(weight), FOUR(bias), FOUR(freq)
#define SINE_INPUTS_OF(i) {FOUR_OF(x, i) + size_t(i) * x_stride, FOUR_OF(weight, i), FOUR_OF(bias, i), FOUR_OF(freq, i), rows, in, out}

// Grid: blocks of 16 rows, networks. x_stride: from one network's x to the next one's where they are one array, else 0.
// y [networks, rows, out].
extern "C" __global__ void __launch_bounds__(256) sine_linear(SINE_INPUTS, float* y, int rows, int in, int out, int x_stride) {
  M2BERT_SHARED_MEMORY(shared_memory);
  auto& shared = *reinterpret_cast<SineShared*>(shared_memory);
  const int column = threadIdx.x % WIDTH, row = threadIdx.x / WIDTH * OWN_ROWS, network = blockIdx.y;
  const SineInputs p = SINE_INPUTS_OF(network);
  float a[OWN_ROWS];
  affine(p, shared, column, row, a);
  if (column >= out) return;
#pragma unroll
  for (int i = 0; i < OWN_ROWS; ++i) {
    const int r = blockIdx.x * ROWS + row + i;
    if (r < rows) y[(size_t(network) * rows + r) * out + column] = sinf(p.freq[column] * a[i]);
  }
}

// Grid: as above. dy [networks, rows, out]. dx [networks, rows, in], and what the gradients of the weights are made of, both
// [networks, rows, out]: da, the gradient of a = x weight^T + bias, and dy cos(freq a) a.
extern "C" __global__ void __launch_bounds__(256)
    sine_linear_gradient(SINE_INPUTS, const float* dy, float* dx, float* da, float* dfreq_rows, int rows, int in, int out, int x_stride) {
  M2BERT_SHARED_MEMORY(shared_memory);
  auto& shared = *reinterpret_cast<SineShared*>(shared_memory);
  const int column = threadIdx.x % WIDTH, row = threadIdx.x / WIDTH * OWN_ROWS, network = blockIdx.y;
  const SineInputs p = SINE_INPUTS_OF(network);
  float a[OWN_ROWS];
  affine(p, shared, column, row, a);
#pragma unroll
  for (int i = 0; i < OWN_ROWS; ++i) {
    const int r = blockIdx.x * ROWS + row + i;
    float gradient = 0;
    if (r < rows && column < out) {
      const size_t at = (size_t(network) * rows + r) * out + column;
      const float c = dy[at] * cosf(p.freq[column] * a[i]);
      gradient = c * p.freq[column];
      da[at] = gradient;
      dfreq_rows[at] = c * a[i];
    }
    shared.gradient[row + i][column] = gradient;
  }
  __syncthreads();
  if (column >= in) return;
  float sum[OWN_ROWS] = {};
#pragma unroll 8
  for (int o = 0; o < out; ++o) {
    const float w = p.weight[o * in + column];
#pragma unroll
    for (int i = 0; i < OWN_ROWS; ++i) sum[i] += shared.gradient[row + i][o] * w;
  }
#pragma unroll
  for (int i = 0; i < OWN_ROWS; ++i) {
    const int r = blockIdx.x * ROWS + row + i;
    if (r < rows) dx[(size_t(network) * rows + r) * in + column] = sum[i];
  }
}

// The sums over rows: dweight [networks, out, in] = da^T x, dbias and dfreq [networks, out], the latter added to `before`, if it adds.
// Grid: tiles of 16 inputs, of 16 outputs of each network. A thread does 2 x 2 of a tile for every fourth row.
extern "C" __global__ void __launch_bounds__(256)
    sine_linear_sums(FOUR(x), const float* all_da, const float* all_dfreq_rows, const float* before, float* dweight, float* dbias,
                     float* dfreq, int rows, int in, int out, int x_stride, bool adds) {
  constexpr int TILE = 16, CHUNK = 128, LOADS = CHUNK * TILE / 256;
  M2BERT_SHARED_MEMORY(shared_memory);
  float* const left = reinterpret_cast<float*>(shared_memory);  // [CHUNK][TILE] of da
  float* const right = left + CHUNK * TILE;                     // of x
  float* const extra = right + CHUNK * TILE;                    // of dfreq_rows
  const int tiles = (out + TILE - 1) / TILE, network = blockIdx.y / tiles;
  const int first_o = blockIdx.y % tiles * TILE, first_i = blockIdx.x * TILE;
  const float* const x = FOUR_OF(x, network) + size_t(network) * x_stride;
  const float* const da = all_da + size_t(network) * rows * out;
  const float* const dfreq_rows = all_dfreq_rows + size_t(network) * rows * out;
  const bool with_columns = blockIdx.x == 0;
  const int group = threadIdx.x / 64, o = threadIdx.x % 64 / 8 * 2, i = threadIdx.x % 8 * 2;
  float sum[2][2] = {}, column_sum = 0, extra_sum = 0, next[3][LOADS];
  auto fetch = [&](int begin) {
#pragma unroll
    for (int k = 0; k < LOADS; ++k) {
      const int r = begin + (k * 256 + threadIdx.x) / TILE, c = threadIdx.x % TILE;
      const bool there = r < rows, of_out = there && first_o + c < out;
      next[0][k] = of_out ? da[size_t(r) * out + first_o + c] : 0.0f;
      next[1][k] = there && first_i + c < in ? x[size_t(r) * in + first_i + c] : 0.0f;
      next[2][k] = with_columns && of_out ? dfreq_rows[size_t(r) * out + first_o + c] : 0.0f;
    }
  };
  fetch(0);
  for (int begin = 0; begin < rows; begin += CHUNK) {
    __syncthreads();
#pragma unroll
    for (int k = 0; k < LOADS; ++k) {
      left[k * 256 + threadIdx.x] = next[0][k], right[k * 256 + threadIdx.x] = next[1][k], extra[k * 256 + threadIdx.x] = next[2][k];
    }
    __syncthreads();
    if (begin + CHUNK < rows) fetch(begin + CHUNK);
#pragma unroll 8
    for (int r = group; r < CHUNK; r += 4) {
      const float a = left[r * TILE + o], b = left[r * TILE + o + 1], c = right[r * TILE + i], d = right[r * TILE + i + 1];
      sum[0][0] += a * c, sum[0][1] += a * d, sum[1][0] += b * c, sum[1][1] += b * d;
    }
    for (int r = threadIdx.x / TILE; with_columns && r < CHUNK; r += 16) {
      column_sum += left[r * TILE + threadIdx.x % TILE], extra_sum += extra[r * TILE + threadIdx.x % TILE];
    }
  }
  __syncthreads();
#pragma unroll
  for (int k = 0; k < 4; ++k) left[group * 256 + (o + k / 2) * TILE + i + k % 2] = sum[k / 2][k % 2];
  right[threadIdx.x] = column_sum, extra[threadIdx.x] = extra_sum;
  __syncthreads();
  const int own_o = first_o + threadIdx.x / TILE, own_i = first_i + threadIdx.x % TILE;
  if (own_o < out && own_i < in) {
    float total = 0;
    for (int k = 0; k < 4; ++k) total += left[k * 256 + threadIdx.x];
    dweight[(size_t(network) * out + own_o) * in + own_i] = total;
  }
  if (!with_columns || threadIdx.x >= TILE || first_o + int(threadIdx.x) >= out) return;
  const int place = network * out + first_o + threadIdx.x;
  float bias_total = 0, freq_total = adds ? before[place] : 0.0f;
  for (int k = 0; k < 16; ++k) bias_total += right[k * TILE + threadIdx.x], freq_total += extra[k * TILE + threadIdx.x];
  dbias[place] = bias_total;
  dfreq[place] = freq_total;
}

// y [networks, n]: the arrays as one. Grid: blocks of 256 elements, networks.
extern "C" __global__ void stack_arrays(FOUR(x), float* y, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x, network = blockIdx.y;
  if (i < n) y[size_t(network) * n + i] = FOUR_OF(x, network)[i];
}

// y = x exp(-times |deltas|), y [networks, rows, columns]. Grid: blocks of 256 elements, networks.
extern "C" __global__ void exponential_decay(FOUR(x), FOUR(times), FOUR(deltas), float* y, int rows, int columns, int x_stride) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x, network = blockIdx.y;
  if (i >= rows * columns) return;
  const float decay = expf(-FOUR_OF(times, network)[i / columns] * fabsf(FOUR_OF(deltas, network)[i % columns]));
  y[size_t(network) * rows * columns + i] = (FOUR_OF(x, network) + size_t(network) * x_stride)[i] * decay;
}

}  // namespace m2bert::ops::cuda
