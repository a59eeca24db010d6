#pragma once
// The sizes of the Toeplitz kernels, and how they get the taps of a filter: as bfloat16 in reverse, so that a word is what two neighbouring
// positions of the signal meet. Element i has the lag tap_origin(length) - i. There are two copies, so that each such word is aligned in
// one of them: the second one begins with the element before the first. A channel has two filters; D [H, 2] follows taps [H, 2, 2,
// tap_count].
#include "m2bert/ops/backend/cuda/scalar.cuh"

namespace m2bert::ops::cuda {

M2BERT_DEVICE constexpr int tap_count(int length) { return 2 * length + 16; }
M2BERT_DEVICE constexpr int tap_origin(int length) { return length + 8; }

// mixer_toeplitz.cu: a warp for each sequence.
struct ToeplitzSizes {
  int length;
  static constexpr int WARPS = 4;
  M2BERT_DEVICE constexpr int signal() const { return length / 2 + 64; }  // words, with 64 zeros before and behind
  M2BERT_DEVICE constexpr int shared_bytes() const { return 4 * tap_count(length) * 2 + WARPS * 2 * signal() * 4; }
};

// mixer_toeplitz_batch.cu: 16 sequences at a time, a warp for two parts of 32 positions of all of them.
struct ToeplitzBatchSizes {
  int length;
  static constexpr int SEQUENCES = 16, PARTS_OF_WARP = 2, PART_BYTES = 68 * 16;
  M2BERT_DEVICE constexpr int parts() const { return length / 32; }
  M2BERT_DEVICE constexpr int warps() const { return parts() / PARTS_OF_WARP; }
  M2BERT_DEVICE constexpr int copy() const { return tap_count(length) + 16; }  // keeps lanes apart in shared memory's banks
  // Groups of sequences of a block: enough that the taps are read seldom.
  M2BERT_DEVICE constexpr int most_groups() const { return 512 / length; }
  M2BERT_DEVICE constexpr int u_buffers() const { return most_groups() > 1 ? 2 : 1; }
  M2BERT_DEVICE constexpr int shared_bytes() const { return 4 * copy() * 2 + (3 + u_buffers()) * parts() * PART_BYTES; }
};

}  // namespace m2bert::ops::cuda
