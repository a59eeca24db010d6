#pragma once
// Sizes of filter_network.cu's launches.
#include "m2bert/ops/backend/cuda/scalar.cuh"

namespace m2bert::ops::cuda {

// A layer: a warp does 8 rows of all outputs or, of few rows, of a quarter of them.
struct SineSizes {
  static constexpr int WIDTH = 128, OWN_ROWS = 8, THREADS = 256;  // the most inputs and outputs; rows of a warp
  int rows;

  M2BERT_DEVICE constexpr bool few() const { return rows < 1024; }
  M2BERT_DEVICE constexpr int block_rows() const { return OWN_ROWS * THREADS / 32 / (few() ? 4 : 1); }
  M2BERT_DEVICE constexpr int blocks() const { return (rows + block_rows() - 1) / block_rows(); }
  M2BERT_DEVICE constexpr int shared_bytes() const { return (WIDTH * (WIDTH + 1) + block_rows() * (WIDTH + 4)) * 4; }
};
static_assert(SineSizes{1024}.shared_bytes() <= 99 * 1024);  // of the smallest GPUs

// A product over rows, left^T right, [out, in] of each network: a block does a tile for a part of the rows.
struct RowProductSizes {
  static constexpr int LEFT = 128, RIGHT = 64, CHUNK = 16, THREADS = 256;  // columns of a tile; rows in shared memory
  static constexpr int SHARED_BYTES = CHUNK * (LEFT + RIGHT) * 4;          // more than the columns' sums take at the end
  int rows, out, in, networks;

  M2BERT_DEVICE constexpr int left_tiles() const { return (out + LEFT - 1) / LEFT; }
  M2BERT_DEVICE constexpr int right_tiles() const { return (in + RIGHT - 1) / RIGHT; }
  // As many blocks as a large GPU holds, of 64 rows or more each; one part of few rows, as another launch would cost more. The same on all
  // GPUs, as sums depend on it.
  M2BERT_DEVICE constexpr int parts() const {
    const int wanted = 2 * 132 / (left_tiles() * right_tiles() * networks), most = rows / 64, parts = wanted < most ? wanted : most;
    return rows < 512 || parts < 1 ? 1 : parts;
  }
  M2BERT_DEVICE constexpr int part_rows() const { return ((rows + parts() - 1) / parts() + CHUNK - 1) / CHUNK * CHUNK; }
};

}  // namespace m2bert::ops::cuda
