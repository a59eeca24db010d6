#pragma once
// Sizes of filter_network.cu's launches.
#include "m2bert/ops/backend/cuda/scalar.cuh"

namespace m2bert::ops::cuda {

// A layer: a warp does 8 rows of all outputs. Few rows are spread over more blocks.
struct SineSizes {
  static constexpr int WIDTH = 128, OWN_ROWS = 8;  // the most inputs and outputs; rows of a warp
  int rows;

  M2BERT_DEVICE constexpr int warps() const { return rows >= 1024 ? 8 : 4; }
  M2BERT_DEVICE constexpr int block_rows() const { return OWN_ROWS * warps(); }
  M2BERT_DEVICE constexpr int blocks() const { return (rows + block_rows() - 1) / block_rows(); }
  M2BERT_DEVICE constexpr int shared_bytes() const { return (WIDTH * (WIDTH + 1) + block_rows() * (WIDTH + 4)) * 4; }
};

// A product over rows, left^T right, [out, in] of each network: a block does a tile for a part of the rows.
struct RowProductSizes {
  static constexpr int LEFT = 128, RIGHT = 64, CHUNK = 16, THREADS = 256;  // columns of a tile; rows in shared memory
  static constexpr int SHARED_BYTES = CHUNK * (LEFT + RIGHT) * 4;
  int rows, out, in, networks;

  M2BERT_DEVICE constexpr int left_tiles() const { return (out + LEFT - 1) / LEFT; }
  M2BERT_DEVICE constexpr int right_tiles() const { return (in + RIGHT - 1) / RIGHT; }
  // Enough blocks for a large GPU, of 128 rows or more each. The same on all GPUs, as sums depend on it.
  M2BERT_DEVICE constexpr int parts() const {
    constexpr int enough_blocks = 2 * 132;
    const int blocks = left_tiles() * right_tiles() * networks, most = rows < 256 ? 1 : rows / 128;
    const int wanted = (enough_blocks + blocks - 1) / blocks;
    return wanted < most ? wanted : most;
  }
  M2BERT_DEVICE constexpr int part_rows() const { return ((rows + parts() - 1) / parts() + CHUNK - 1) / CHUNK * CHUNK; }
};

}  // namespace m2bert::ops::cuda
