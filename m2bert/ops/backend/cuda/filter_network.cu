// The networks that compute a mixer's filters, float32, up to four in a launch: layers y = sin(freq (x weight^T + bias)) with their
// gradients, and the decay along the sequence. See m2bert/ops/filter_network.h. At most 128 inputs and outputs of a layer.
#include <cstdint>

#include "m2bert/ops/backend/cuda/filter_network.cuh"
#include "m2bert/ops/backend/cuda/tensor_core.cuh"

namespace m2bert::ops::cuda {

namespace {

constexpr int WIDTH = SineSizes::WIDTH, OWN_ROWS = SineSizes::OWN_ROWS;
constexpr int WEIGHT_ROW = WIDTH + 1, X_ROW = WIDTH + 4;  // so that lanes read columns, and rows four at a time, without conflicts

struct SineInputs {
  const float *x, *weight, *bias, *freq;
  int rows, in, out;
};

// Rows first + i step of from [rows, in] to `to` + i pitch, for i < OWN_ROWS, columns column + 32 k; zeros outside the array, up to a
// multiple of 32 columns. All loads come before the first store.
template <int COLUMNS>
__device__ __forceinline__ void copy_rows(const float* from, int first, int step, int rows, int in, int column, float* to, int pitch) {
  float v[OWN_ROWS][COLUMNS];
#pragma unroll
  for (int i = 0; i < OWN_ROWS; ++i) {
#pragma unroll
    for (int k = 0; k < COLUMNS; ++k) {
      const int r = first + i * step, j = column + 32 * k;
      v[i][k] = r < rows && j < in ? from[size_t(r) * in + j] : 0.0f;
    }
  }
#pragma unroll
  for (int i = 0; i < OWN_ROWS; ++i) {
#pragma unroll
    for (int k = 0; k < COLUMNS; ++k) {
      if ((column & ~31) + 32 * k < in) to[i * pitch + column + 32 * k] = v[i][k];
    }
  }
}

// A block's weight [out][in], and rows of x, later of gradients, that 4 / COLUMNS warps share. A lane has COLUMNS columns: column + 32 k.
template <int COLUMNS>
struct Sine {
  static constexpr int SHARING = 4 / COLUMNS;
  using Values = float[OWN_ROWS][COLUMNS];
  float *weight, *rows;
  int first_row, column;

  __device__ __forceinline__ explicit Sine(char* memory) {
    const int warp = threadIdx.x / 32, group = warp / SHARING;
    weight = reinterpret_cast<float*>(memory), rows = weight + WIDTH * WEIGHT_ROW + group * OWN_ROWS * X_ROW;
    first_row = (blockIdx.x * (blockDim.x / 32 / SHARING) + group) * OWN_ROWS;
    column = threadIdx.x % 32 + 32 * (warp % SHARING);
  }
  // Of the warps that share rows.
  __device__ __forceinline__ void sync() const {
    if (SHARING == 1) {
      __syncwarp();
    } else {
      __syncthreads();
    }
  }

  // y += rows [OWN_ROWS][count] matrix, for this lane's columns; matrix(j, column). count is rounded up to a multiple of 4.
  template <typename Matrix>
  __device__ __forceinline__ void multiply_rows(int count, Matrix matrix, Values& y) const {
#pragma unroll 1
    for (int first = 0; first < count; first += 4) {
      float x[OWN_ROWS][4];
#pragma unroll
      for (int i = 0; i < OWN_ROWS; ++i) {
        const float4 v = *reinterpret_cast<const float4*>(rows + i * X_ROW + first);
        x[i][0] = v.x, x[i][1] = v.y, x[i][2] = v.z, x[i][3] = v.w;
      }
#pragma unroll
      for (int j = 0; j < 4; ++j) {
#pragma unroll
        for (int k = 0; k < COLUMNS; ++k) {
          const float w = matrix(first + j, column + 32 * k);
#pragma unroll
          for (int i = 0; i < OWN_ROWS; ++i) y[i][k] += x[i][j] * w;
        }
      }
    }
  }

  // x weight^T + bias for this warp's rows and this lane's columns.
  __device__ __forceinline__ void affine(const SineInputs& p, Values& y) const {
    const int warps = blockDim.x / 32, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    static_assert(WIDTH % (OWN_ROWS * SineSizes::THREADS / 32) == 0);
    for (int o = warp; o < WIDTH; o += OWN_ROWS * warps) {
      copy_rows<4>(p.weight, o, warps, p.out, p.in, lane, weight + o * WEIGHT_ROW, warps * WEIGHT_ROW);
    }
    copy_rows<COLUMNS>(p.x, first_row, 1, p.rows, p.in, column, rows, X_ROW);
    __syncthreads();
#pragma unroll
    for (int k = 0; k < COLUMNS; ++k) {
      const float bias = column + 32 * k < p.out ? p.bias[column + 32 * k] : 0.0f;
#pragma unroll
      for (int i = 0; i < OWN_ROWS; ++i) y[i][k] = bias;
    }
    multiply_rows(p.in, [&](int j, int c) { return weight[c * WEIGHT_ROW + j]; }, y);
  }
};

template <int COLUMNS>
__device__ __forceinline__ void sine_forward(const SineInputs& p, float* y) {
  M2BERT_SHARED_MEMORY(shared_memory);
  const Sine<COLUMNS> m(shared_memory);
  float a[OWN_ROWS][COLUMNS];
  m.affine(p, a);
#pragma unroll
  for (int k = 0; k < COLUMNS; ++k) {
    const int column = m.column + 32 * k;
    if (column >= p.out) continue;
    const float freq = p.freq[column];
#pragma unroll
    for (int i = 0; i < OWN_ROWS; ++i) {
      const int r = m.first_row + i;
      if (r < p.rows) y[size_t(r) * p.out + column] = sinf(freq * a[i][k]);
    }
  }
}

template <int COLUMNS>
__device__ __forceinline__ void sine_backward(const SineInputs& p, const float* dy, float* dx, float* da, float* dfreq_rows) {
  M2BERT_SHARED_MEMORY(shared_memory);
  const Sine<COLUMNS> m(shared_memory);
  float a[OWN_ROWS][COLUMNS], gradient[OWN_ROWS][COLUMNS];
  m.affine(p, a);
  auto place = [&](int i, int k) { return size_t(m.first_row + i) * p.out + m.column + 32 * k; };
  auto exists = [&](int i, int k) { return m.first_row + i < p.rows && m.column + 32 * k < p.out; };
#pragma unroll
  for (int i = 0; i < OWN_ROWS; ++i) {
#pragma unroll
    for (int k = 0; k < COLUMNS; ++k) gradient[i][k] = exists(i, k) ? dy[place(i, k)] : 0.0f;
  }
  m.sync();
#pragma unroll
  for (int k = 0; k < COLUMNS; ++k) {
    const int column = m.column + 32 * k;
    const float freq = column < p.out ? p.freq[column] : 0.0f;
#pragma unroll
    for (int i = 0; i < OWN_ROWS; ++i) {
      const float c = gradient[i][k] * cosf(freq * a[i][k]);
      m.rows[i * X_ROW + column] = c * freq;
      if (exists(i, k)) da[place(i, k)] = c * freq, dfreq_rows[place(i, k)] = c * a[i][k];
    }
  }
  m.sync();
  float sum[OWN_ROWS][COLUMNS] = {};
  const int columns = (p.in + 31) / 32 * 32;
  m.multiply_rows(p.out, [&](int o, int c) { return c < columns ? m.weight[o * WEIGHT_ROW + c] : 0.0f; }, sum);
#pragma unroll
  for (int k = 0; k < COLUMNS; ++k) {
    const int column = m.column + 32 * k;
#pragma unroll
    for (int i = 0; i < OWN_ROWS; ++i) {
      const int r = m.first_row + i;
      if (r < p.rows && column < p.in) dx[size_t(r) * p.in + column] = sum[i][k];
    }
  }
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

// Grid: SineSizes::blocks(), networks. x_stride: from one network's x to the next one's where they are one array, else 0.
// y [networks, rows, out]. _few: where SineSizes::few().
#define SINE_LINEAR(name, columns)                                                                                            \
  extern "C" __global__ void __launch_bounds__(256, 2) name(SINE_INPUTS, float* y, int rows, int in, int out, int x_stride) { \
    const int network = blockIdx.y;                                                                                           \
    const SineInputs p = SINE_INPUTS_OF(network);                                                                             \
    sine_forward<columns>(p, y + size_t(network) * rows * out);                                                               \
  }
SINE_LINEAR(sine_linear, 4)
SINE_LINEAR(sine_linear_few, 1)

// Grid: as above. dy [networks, rows, out]. dx [networks, rows, in], and what the gradients of the weights are made of, both
// [networks, rows, out]: da, the gradient of a = x weight^T + bias, and dy cos(freq a) a.
#define SINE_LINEAR_GRADIENT(name, columns)                                                                                  \
  extern "C" __global__ void __launch_bounds__(256, 2)                                                                       \
      name(SINE_INPUTS, const float* dy, float* dx, float* da, float* dfreq_rows, int rows, int in, int out, int x_stride) { \
    const int network = blockIdx.y;                                                                                          \
    const SineInputs p = SINE_INPUTS_OF(network);                                                                            \
    const size_t of_out = size_t(network) * rows * out, of_in = size_t(network) * rows * in;                                 \
    sine_backward<columns>(p, dy + of_out, dx + of_in, da + of_out, dfreq_rows + of_out);                                    \
  }
SINE_LINEAR_GRADIENT(sine_linear_gradient, 4)
SINE_LINEAR_GRADIENT(sine_linear_gradient_few, 1)

// products [parts, networks, out, in]: left^T right, summed over a part of the rows; left [networks, rows, out]. If with_columns,
// left_sums and also_sums [parts, networks, out]: the sums of left and of also_summed, which has its shape, the latter with `before`
// [networks, out] if it adds (one part). Grid: tiles of `in`, tiles of `out` of each network in each part (RowProductSizes).
extern "C" __global__ void __launch_bounds__(256, 2)
    row_products(const float* all_left, FOUR(right), const float* also_summed, const float* before, float* products, float* left_sums,
                 float* also_sums, int rows, int out, int in, int networks, int right_stride, bool with_columns, bool adds) {
  constexpr int LEFT = RowProductSizes::LEFT, RIGHT = RowProductSizes::RIGHT, CHUNK = RowProductSizes::CHUNK;
  constexpr int LEFT_LOADS = CHUNK * LEFT / 256, RIGHT_LOADS = CHUNK * RIGHT / 256;
  M2BERT_SHARED_MEMORY(shared_memory);
  float* const left_tile = reinterpret_cast<float*>(shared_memory);  // [CHUNK][LEFT]
  float* const right_tile = left_tile + CHUNK * LEFT;                // [CHUNK][RIGHT]
  const RowProductSizes sizes{rows, out, in, networks};
  const int tiles = sizes.left_tiles(), network = blockIdx.y / tiles % networks, part = blockIdx.y / tiles / networks;
  const int first_o = blockIdx.y % tiles * LEFT, first_i = blockIdx.x * RIGHT;
  const int begin = part * sizes.part_rows(), end = min(begin + sizes.part_rows(), rows);
  const float* const left = all_left + size_t(network) * rows * out;
  const float* const right = FOUR_OF(right, network) + size_t(network) * right_stride;
  const int o = threadIdx.x / 16 * 8, i = threadIdx.x % 16 * 4;
  const float* const also = also_summed + size_t(network) * rows * out;
  const bool sums_columns = with_columns && blockIdx.x == 0;  // a thread has every second row of a column
  float sum[8][4] = {}, next_left[LEFT_LOADS], next_right[RIGHT_LOADS], next_also[LEFT_LOADS], column_sum = 0, also_sum = 0;
  auto fetch = [&](int first) {
#pragma unroll
    for (int k = 0; k < LEFT_LOADS; ++k) {
      const int r = first + (k * 256 + int(threadIdx.x)) / LEFT, c = first_o + threadIdx.x % LEFT;
      next_left[k] = r < end && c < out ? left[size_t(r) * out + c] : 0.0f;
      next_also[k] = sums_columns && r < end && c < out ? also[size_t(r) * out + c] : 0.0f;
    }
#pragma unroll
    for (int k = 0; k < RIGHT_LOADS; ++k) {
      const int r = first + (k * 256 + int(threadIdx.x)) / RIGHT, c = first_i + threadIdx.x % RIGHT;
      next_right[k] = r < end && c < in ? right[size_t(r) * in + c] : 0.0f;
    }
  };
  fetch(begin);
  for (int first = begin; first < end; first += CHUNK) {
    __syncthreads();
#pragma unroll
    for (int k = 0; k < LEFT_LOADS; ++k) {
      left_tile[k * 256 + threadIdx.x] = next_left[k];
      column_sum += next_left[k], also_sum += next_also[k];
    }
#pragma unroll
    for (int k = 0; k < RIGHT_LOADS; ++k) right_tile[k * 256 + threadIdx.x] = next_right[k];
    __syncthreads();
    if (first + CHUNK < end) fetch(first + CHUNK);
#pragma unroll 4
    for (int r = 0; r < CHUNK; ++r) {
      float a[8];
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        const float4 v = *reinterpret_cast<const float4*>(left_tile + r * LEFT + o + 4 * k);
        a[4 * k] = v.x, a[4 * k + 1] = v.y, a[4 * k + 2] = v.z, a[4 * k + 3] = v.w;
      }
      const float4 b = *reinterpret_cast<const float4*>(right_tile + r * RIGHT + i);
#pragma unroll
      for (int k = 0; k < 8; ++k) sum[k][0] += a[k] * b.x, sum[k][1] += a[k] * b.y, sum[k][2] += a[k] * b.z, sum[k][3] += a[k] * b.w;
    }
  }
  const size_t place = size_t(part) * networks + network;
#pragma unroll
  for (int k = 0; k < 8; ++k) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (first_o + o + k < out && first_i + i + j < in) products[(place * out + first_o + o + k) * in + first_i + i + j] = sum[k][j];
    }
  }
  if (!sums_columns) return;
  __syncthreads();
  left_tile[threadIdx.x] = column_sum, left_tile[256 + threadIdx.x] = also_sum;
  __syncthreads();
  const bool of_left = threadIdx.x < LEFT;
  const int c = threadIdx.x % LEFT, column = first_o + c;
  if (column >= out) return;
  const float* const halves = left_tile + (of_left ? 0 : 256) + c;
  const float total = halves[0] + halves[LEFT];
  (of_left ? left_sums : also_sums)[place * out + column] = total + (!of_left && adds ? before[network * out + column] : 0.0f);
}

// The sums of parts: product [networks, out, in], and with_columns dbias and dfreq [networks, out], the latter added to `before`, if it
// adds. Grid: blocks of the outputs' elements.
extern "C" __global__ void __launch_bounds__(256)
    row_product_sums(const float* products, const float* left_sums, const float* also_sums, const float* before, float* product,
                     float* dbias, float* dfreq, int parts, int networks, int out, int in, bool with_columns, bool adds) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x, n = networks * out * in, columns = networks * out;
  auto sum_parts = [&](const float* x, int place, int size, float sum) {
#pragma unroll 8
    for (int part = 0; part < parts; ++part) sum += x[size_t(part) * size + place];
    return sum;
  };
  if (i < n) {
    product[i] = sum_parts(products, i, n, 0);
  } else if (with_columns && i < n + columns) {
    dbias[i - n] = sum_parts(left_sums, i - n, columns, 0);
  } else if (with_columns && i < n + 2 * columns) {
    const int place = i - n - columns;
    dfreq[place] = sum_parts(also_sums, place, columns, adds ? before[place] : 0.0f);
  }
}

// y [networks, n]: the arrays as one. Grid: blocks of 256 elements, networks.
extern "C" __global__ void stack_arrays(FOUR(x), float* y, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x, network = blockIdx.y;
  if (i < n) y[size_t(network) * n + i] = FOUR_OF(x, network)[i];
}

// y = x exp(-times |deltas|), y [networks, rows, columns]. Grid: blocks of 256 times 4 elements, networks.
extern "C" __global__ void __launch_bounds__(256)
    exponential_decay(FOUR(x), FOUR(times), FOUR(deltas), float* y, int rows, int columns, int x_stride) {
  const int network = blockIdx.y, n = rows * columns, first = (blockIdx.x * blockDim.x + threadIdx.x) * 4;
  if (first >= n) return;
  const float *times = FOUR_OF(times, network), *deltas = FOUR_OF(deltas, network);
  const float* x = FOUR_OF(x, network) + size_t(network) * x_stride;
  y += size_t(network) * n;
  auto decay = [&](int row, int column) { return expf(-times[row] * fabsf(deltas[column])); };
  if (columns % 4 == 0 && reinterpret_cast<uintptr_t>(x) % 16 == 0) {
    const int row = first / columns, column = first % columns;
    float4 v = *reinterpret_cast<const float4*>(x + first);
    v.x *= decay(row, column), v.y *= decay(row, column + 1), v.z *= decay(row, column + 2), v.w *= decay(row, column + 3);
    *reinterpret_cast<float4*>(y + first) = v;
    return;
  }
  for (int i = first; i < min(first + 4, n); ++i) y[i] = x[i] * decay(i / columns, i % columns);
}

}  // namespace m2bert::ops::cuda
