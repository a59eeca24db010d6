#pragma once
// The input of an encoder: one row from each of several tables, summed and normalised. Source: upstream's BertEmbeddings.
#include <optional>
#include <vector>

#include "m2bert/mx.h"
#include "m2bert/ops/packed_linear.h"
#include "m2bert/ops/quantized.h"

namespace m2bert::ops {

// A table [count, H] and the rows to look up: index int32, broadcast with the other indices.
struct EmbeddingRows {
  Weight table;
  mx::array index;
};

// table[index], of the index's shape followed by H; a gradient for the table, whose sums are float32, and have a fixed order where the
// device has a kernel.
mx::array embedding_rows(const mx::array& table, const mx::array& index, mx::StreamOrDevice s = {});

// y = layer_norm(sum of table[index] over the tables), of the indices' shape followed by H. Tables are float32, bfloat16 or int8
// (ops/quantized.h); the sum is float32 and the result is `dtype`, float32 or bfloat16. Indices must be valid: otherwise the row is NaN, or
// any row. No gradient. Throws Error on wrong shapes.
mx::array embedding_norm(const std::vector<EmbeddingRows>& rows, const NormWeights& norm, mx::Dtype dtype, mx::StreamOrDevice s = {});

// With gradients for floating-point tables.
mx::array embedding_norm_fallback(const std::vector<EmbeddingRows>& rows, const NormWeights& norm, mx::Dtype dtype,
                                  mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
