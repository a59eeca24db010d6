#pragma once
// The rows of an encoder's input on all threads: host memory only, no MLX.
#include <cstdint>
#include <vector>

#include "m2bert/ops/backend/cpu/simd/tile_simd.h"

namespace m2bert::ops::cpu {

struct EmbeddingSource {
  std::vector<Table> tables;
  std::vector<const int32_t*> index;  // of each table, one a row
  Norm norm;
  int columns;
};

// y [rows, columns], float or bfloat16 (uint16_t).
template <class T>
void embed_rows(const EmbeddingSource& source, int64_t rows, T* y, int threads);

}  // namespace m2bert::ops::cpu
