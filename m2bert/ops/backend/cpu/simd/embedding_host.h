#pragma once
// The embedding layer: look-up in several tables, sum and layer norm, on all threads. Host memory only; thread-safe.
#include <cstdint>
#include <vector>

#include "m2bert/ops/backend/cpu/simd/embedding_simd.h"

namespace m2bert::ops::cpu {

struct EmbeddingInputs {
  std::vector<EmbeddingTable> tables;
  std::vector<const int32_t*> index;  // for each table, an index for each row of y
  LayerNormParams norm;
  int columns;  // of the tables and of y; a multiple of 16
};

// y [rows, columns]; see embed_tile. T: float, or uint16_t for bfloat16.
template <class T>
void embed_rows(const EmbeddingInputs& in, int64_t rows, T* y, int threads);

}  // namespace m2bert::ops::cpu
