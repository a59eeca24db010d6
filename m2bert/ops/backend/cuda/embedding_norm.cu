// The sum of a row from each of up to three tables, normalized: a warp has one position, all in registers.
#include "m2bert/ops/backend/cuda/row_norm.cuh"

namespace m2bert::ops::cuda {

namespace {

struct Table {
  const BFloat16* values;  // [count, H]
  const void* index;       // of position t: index[t % indices], int32, or int64 if `wide`
  int count, indices;
  bool wide;

  // The nearest row that exists.
  __device__ __forceinline__ int row(int t) const {
    const int at = t % indices;
    const int64_t i = wide ? reinterpret_cast<const int64_t*>(index)[at] : int64_t(reinterpret_cast<const int*>(index)[at]);
    return int(i < 0 ? 0 : i < count ? i : count - 1);
  }
};

// PASSES: chunks of a lane, for up to 256 PASSES columns.
template <int PASSES>
__device__ __forceinline__ void embed(const Table* tables, int table_count, const NormVector& weight, const NormVector& bias, BFloat16* y,
                                      int H, int T, float eps) {
  const int lane = threadIdx.x % 32, t = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, chunks = H / CHUNK;
  if (t >= T) return;
  float v[PASSES][CHUNK] = {};
#pragma unroll
  for (int i = 0; i < 3; ++i) {
    if (i >= table_count) break;
    const Chunk* from = reinterpret_cast<const Chunk*>(tables[i].values + size_t(tables[i].row(t)) * H);
#pragma unroll
    for (int k = 0; k < PASSES; ++k) {
      if (lane + 32 * k >= chunks) continue;
      float values[CHUNK];
      unpack(from[lane + 32 * k], values);
#pragma unroll
      for (int j = 0; j < CHUNK; ++j) v[k][j] += values[j];
    }
  }
  store_normalized<BFloat16, PASSES>(v, weight, bias, H, eps, y + size_t(t) * H);
}

}  // namespace

// y [T, H] = norm(sum of values[index[t % indices]] over the first `tables` tables) * weight + bias. H is a multiple of 8, at most 768
// (_2048: 2048). wide: bit i says that index i is int64, not int32, and bit 3 that weight and bias are float32, not bfloat16. Indices out
// of range take the nearest row. Grid: 8 positions a block, 256 threads.
#define M2BERT_EMBEDDING_NORM(name, passes)                                                                                       \
  extern "C" __global__ void __launch_bounds__(256)                                                                               \
      name(const BFloat16* values0, const void* index0, const BFloat16* values1, const void* index1, const BFloat16* values2,     \
           const void* index2, const void* weight, const void* bias, BFloat16* y, int tables, int wide, int count0, int indices0, \
           int count1, int indices1, int count2, int indices2, int H, int T, float eps) {                                         \
    const Table all[3] = {{values0, index0, count0, indices0, (wide & 1) != 0},                                                   \
                          {values1, index1, count1, indices1, (wide & 2) != 0},                                                   \
                          {values2, index2, count2, indices2, (wide & 4) != 0}};                                                  \
    embed<passes>(all, tables, {weight, (wide & 8) != 0}, {bias, (wide & 8) != 0}, y, H, T, eps);                                 \
  }
#if !defined(EMBEDDING_KERNELS) || EMBEDDING_KERNELS == 0
M2BERT_EMBEDDING_NORM(embedding_norm, 3)
#endif
#if !defined(EMBEDDING_KERNELS) || EMBEDDING_KERNELS == 1
M2BERT_EMBEDDING_NORM(embedding_norm_2048, 8)
#endif

}  // namespace m2bert::ops::cuda
