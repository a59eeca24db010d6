#pragma once
// How the Toeplitz kernels get the taps of a filter: as bfloat16 in reverse, so that a word is what two neighbouring positions of the
// signal meet. Element i has the lag tap_origin(length) - i. There are two copies, so that each such word is aligned in one of them: the
// second one begins with the element before the first. A channel has two filters; D [H, 2] follows taps [H, 2, 2, tap_count].
#include "m2bert/ops/backend/cuda/scalar.cuh"

namespace m2bert::ops::cuda {

M2BERT_DEVICE constexpr int tap_count(int length) { return 2 * length + 16; }
M2BERT_DEVICE constexpr int tap_origin(int length) { return length + 8; }

}  // namespace m2bert::ops::cuda
