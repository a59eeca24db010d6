#pragma once
#include <vector>

#include "m2bert/ops/packed_linear.h"
#include "m2bert/ops/quantized.h"

namespace m2bert::ops::cpu {

// Whether the kernel takes a table: of a dtype that it knows, with a multiple of 16 columns.
bool embedding_takes(const Weight& table);

// ops::embedding_norm on the CPU; one int32 index a table, all of one shape.
mx::array embedding_norm(const std::vector<Weight>& tables, const std::vector<mx::array>& indices, const NormWeights& norm, mx::Dtype dtype,
                         mx::Stream s);

}  // namespace m2bert::ops::cpu
