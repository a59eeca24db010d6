#pragma once
// The input of an encoder: the sum of one row of each of some tables, normalised. Source: BertEmbeddings of the reference.
#include <optional>
#include <vector>

#include "m2bert/mx.h"
#include "m2bert/ops/packed_linear.h"
#include "m2bert/ops/quantized.h"

namespace m2bert::ops {

// A table [count, H] and which of its rows are wanted: index int32, broadcast to the shape of the others'.
struct EmbeddingRows {
  Weight table;
  mx::array index;
};

// y = layer_norm(sum of table[index] over the tables), of the indices' shape and then H. Tables are float32, bfloat16 or int8
// (ops/quantized.h); the sum is made in float32 and the result is `dtype`, float32 or bfloat16. An index that its table does not have is an
// error of the caller: the row is then NaN, or any row. No gradient. Throws Error when shapes do not fit.
mx::array embedding_norm(const std::vector<EmbeddingRows>& rows, const NormWeights& norm, mx::Dtype dtype, mx::StreamOrDevice s = {});

// The same of MLX's operations, with gradients by floating tables.
mx::array embedding_norm_fallback(const std::vector<EmbeddingRows>& rows, const NormWeights& norm, mx::Dtype dtype,
                                   mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
