#pragma once
// A matrix view whose columns are cut into blocks, so that the values of neighbouring channels lie close together from row to row.
#include <cstdint>

namespace m2bert::ops::cpu {

// Does not own its memory. A dense row-major matrix is one block.
template <class T>
struct BlockedMatrix {
  T* data = nullptr;
  int block_width = 1;       // columns of a block
  int64_t row_stride = 0;    // from a row to the next one inside a block
  int64_t block_stride = 0;  // from a block to the next one

  T* element(int64_t row, int column) const { return data + column / block_width * block_stride + row * row_stride + column % block_width; }
};

// A row-major matrix with this many columns.
template <class T>
BlockedMatrix<T> dense_matrix(T* data, int columns) {
  return {data, columns, columns, 0};
}

}  // namespace m2bert::ops::cpu
