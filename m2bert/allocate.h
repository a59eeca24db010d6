#pragma once
// Memory for arrays.
#include "m2bert/error.h"
#include "m2bert/mx.h"

namespace m2bert {

// MLX's malloc, but throws Error if the allocation fails, which MLX does not check.
inline mx::allocator::Data allocate(size_t bytes) {
  auto data = mx::allocator::malloc(bytes);
  require(bytes == 0 || data.buffer().ptr(), "not enough memory: another ", (bytes >> 20) + 1,
          " MiB are wanted; smaller batches or shorter texts take less");
  return data;
}

}  // namespace m2bert
