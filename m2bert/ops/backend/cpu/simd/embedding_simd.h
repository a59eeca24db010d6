#pragma once
// Embedding look-up, sum and layer norm of a tile. Host memory only.
#include <cstdint>

#include "m2bert/ops/backend/cpu/simd/host_dtype.h"
#include "m2bert/ops/backend/cpu/simd/layer_norm_simd.h"

namespace m2bert::ops::cpu {

// A table [count, columns] of float32, bfloat16, or int8 with a scale for each row, rotated as ops/quantized.h describes.
struct EmbeddingTable {
  const void* values;
  HostDtype dtype;
  const float* scale;  // [count] for int8, else null
  int count;
};

// y [rows, columns] = layer_norm(sum of one row of each table) on the calling thread; thread-safe. Row r takes row index[table][r] of a
// table; an index outside a table makes y's row NaN. columns: a multiple of 16; block: hadamard_block(columns). scratch: 2 * columns
// floats. T: float, or uint16_t for bfloat16.
template <class T>
void embed_tile(const EmbeddingTable* tables, const int32_t* const* index, int table_count, int block, const LayerNormParams& norm,
                int rows, int columns, T* y, float* scratch);

}  // namespace m2bert::ops::cpu
