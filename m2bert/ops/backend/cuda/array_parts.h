#pragma once
// Kernels that do several arrays in a launch, since most of a model's are small. A block does one part of one array, so a small array costs
// one block.
#include "m2bert/ops/backend/cuda/scalar.cuh"

namespace m2bert::ops::cuda {

constexpr int ARRAY_PART = 8192, PART_THREADS = 256;  // elements of a part; threads of a block

M2BERT_DEVICE constexpr int parts_of(int n) { return n / ARRAY_PART + (n % ARRAY_PART != 0); }

}  // namespace m2bert::ops::cuda
