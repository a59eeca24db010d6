// Small arrays around the mixer's kernels, forward and backward: the short filter with its bias, the second projection with its bias, and
// the filters' gradients. A launch each, where MLX's operations would take several.
#include "m2bert/ops/backend/cuda/mixer_inputs.cuh"
#include "m2bert/ops/backend/cuda/scalar_array.cuh"

namespace m2bert::ops::cuda {

// filter [SHORT_FILTER_ROWS H, SHORT_FILTER], for the product without in_bias. What the convolution adds up of in_bias b is part of its
// bias; before position 0, where it reads 0, the product without b is -b. weight [3 H, 3], bias, in_bias [3 H]; wide: bit i, whether the
// i-th of them is float32, not bfloat16. Grid: blocks of rows, a thread each.
extern "C" __global__ void mixer_short_filter(const void* weight, const void* bias, const void* in_bias, float* filter, int H, int wide,
                                              bool has_in_bias) {
  const int row = blockIdx.x * blockDim.x + threadIdx.x;
  if (row >= SHORT_FILTER_ROWS * H) return;
  float values[SHORT_FILTER] = {};
  if (row < 3 * H) {
    for (int i = 0; i < 3; ++i) values[i] = load_scalar(weight, 3 * row + i, wide & 1);
    const float b = has_in_bias ? load_scalar(in_bias, row, wide & 4) : 0.0f;
    values[3] = load_scalar(bias, row, wide & 2) + b * (values[0] + values[1] + values[2]);
    values[4] = -b;
  } else {
    values[row < 4 * H ? 2 : 3] = 1;
  }
  for (int i = 0; i < SHORT_FILTER; ++i) filter[size_t(row) * SHORT_FILTER + i] = values[i];
}

// Its gradients, in the dtypes of what they are of, from sums [parts, 3 H, SHORT_FILTER]. Grid: blocks of rows, a thread each.
extern "C" __global__ void mixer_short_filter_gradient(const float* sums, const void* weight, const void* in_bias, void* dweight,
                                                       void* dbias, void* din_bias, int H, int parts, int wide, bool has_in_bias) {
  const int row = blockIdx.x * blockDim.x + threadIdx.x;
  if (row >= 3 * H) return;
  float d[5] = {};
  for (int part = 0; part < parts; ++part) {
    for (int i = 0; i < 5; ++i) d[i] += sums[(size_t(part) * 3 * H + row) * SHORT_FILTER + i];
  }
  const float b = has_in_bias ? load_scalar(in_bias, row, wide & 4) : 0.0f;
  float taps = 0;
  for (int i = 0; i < 3; ++i) {
    taps += load_scalar(weight, 3 * row + i, wide & 1);
    store_scalar(dweight, 3 * row + i, wide & 1, d[i] + d[3] * b);
  }
  store_scalar(dbias, row, wide & 2, d[3]);
  if (has_in_bias) store_scalar(din_bias, row, wide & 4, d[3] * taps - d[4]);
}

// y [rows, columns + BIAS_ROWS]: x [rows, columns] with the bias as its next column, then zeros. wide: bit 0, whether x and y are float32,
// not bfloat16; bit 1, whether the bias is. Grid: 1, rows.
extern "C" __global__ void mixer_out_weight(const void* x, const void* bias, void* y, int columns, int wide) {
  const int row = blockIdx.y;
  for (int i = threadIdx.x; i < columns + BIAS_ROWS; i += blockDim.x) {
    float value = 0;
    if (i < columns) value = load_scalar(x, row * columns + i, wide & 1);
    if (i == columns) value = load_scalar(bias, row, wide & 2);
    store_scalar(y, row * (columns + BIAS_ROWS) + i, wide & 1, value);
  }
}
// The gradients of x and of the bias.
extern "C" __global__ void mixer_out_weight_gradient(const void* dy, void* dx, void* dbias, int columns, int wide) {
  const int row = blockIdx.y;
  for (int i = threadIdx.x; i <= columns; i += blockDim.x) {
    const float value = load_scalar(dy, row * (columns + BIAS_ROWS) + i, wide & 1);
    if (i < columns) {
      store_scalar(dx, row * columns + i, wide & 1, value);
    } else {
      store_scalar(dbias, row, wide & 2, value);
    }
  }
}

// The gradients of the filters and their skip terms from those at each lag: lags [H, filters, n] or, interleaved, [H, n, 2], lag t in place
// t modulo n. dk, dk_rev (its last row is 0), dk2, dk2_rev [L, H]; dD, dD2 [H]. Grid: tiles of 32 positions, of 32 channels.
extern "C" __global__ void __launch_bounds__(256)
    mixer_filter_gradients(const float* lags, float* dk, float* dD, float* dk_rev, float* dk2, float* dD2, float* dk2_rev, int H, int L,
                           int n, int filters, bool interleaved, bool bidirectional) {
  M2BERT_SHARED_MEMORY(shared_memory);
  float* const tile = reinterpret_cast<float*>(shared_memory);  // [32 channels][33]
  const int lane = threadIdx.x % 32, row = threadIdx.x / 32, first_channel = blockIdx.y * 32, first = blockIdx.x * 32;
  for (int side = 0; side < (bidirectional ? 2 : 1); ++side) {
    for (int filter = 0; filter < filters; ++filter) {
      for (int i = row; i < 32; i += 8) {
        const int channel = first_channel + i, t = first + lane, place = side ? n - 1 - t : t;
        const size_t pair = size_t(channel) * n + place, single = (size_t(channel) * filters + filter) * n + place;
        const bool exists = channel < H && t < L && (!side || t < L - 1);
        tile[i * 33 + lane] = exists ? lags[interleaved ? 2 * pair + filter : single] : 0.0f;
      }
      __syncthreads();
      float* const out = filter ? (side ? dk2_rev : dk2) : (side ? dk_rev : dk);
      const int channel = first_channel + lane;
      for (int i = row; i < 32; i += 8) {
        const int t = first + i;
        if (channel >= H || t >= L) continue;
        out[size_t(t) * H + channel] = tile[lane * 33 + i];
        if (!side && t == 0) (filter ? dD2 : dD)[channel] = tile[lane * 33 + i];
      }
      __syncthreads();
    }
  }
}

}  // namespace m2bert::ops::cuda
