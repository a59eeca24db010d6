#pragma once
// Attention with a streaming softmax, forward and backward, on all threads, in blocks of 128 queries by 256 keys; where it has few keys, a
// head of a sequence at once. Host memory only; thread-safe.
#include <vector>

#include "m2bert/ops/backend/cpu/simd/attention_simd.h"

namespace m2bert::ops::cpu {

// A tensor is a list of vectors in memory order; vector (row, head) of a sequence is at position first + row * row_step + head * head_step.
struct AttentionSequence {
  int64_t q_first, k_first, y_first;
  int queries, keys;
};

struct AttentionPlan {
  std::vector<AttentionSequence> sequences;
  int heads, d, dv;           // dv: width of v and of the result
  int64_t q_row, q_head;      // steps in q and its gradient, in vectors
  int64_t k_row, k_head;      // steps in k, v and their gradients, in vectors
  int64_t y_row, y_head;      // steps in the result and its gradient, in vectors; for the backward pass those of q
  int64_t queries, keys;      // vectors in q and in k
  int64_t bias_steps[4];      // of bias, by sequence, head, query and key
  int64_t key_bias_step;      // of key_bias, by sequence
  std::vector<float> slopes;  // of ALiBi, one for each head; empty: no ALiBi
  float scale;                // of the scores
  bool causal;
  DropoutHash dropout;
};

struct AttentionInputs {
  const float *q, *k, *v;
  const float *bias, *key_bias;  // or null
};

// The maximum and the sum of exponentials of the softmax, one for each vector of the result; null: not wanted.
struct SoftmaxStats {
  float *maxima = nullptr, *sums = nullptr;
};

// y = softmax(scale q k^T + biases) v; writes the rows' statistics, which the backward pass reads.
void attention_forward(const AttentionPlan& plan, const AttentionInputs& in, float* y, SoftmaxStats rows, int threads);
// The gradients dq, dk, dv of sum(y * dy).
void attention_backward(const AttentionPlan& plan, const AttentionInputs& in, const float* y, SoftmaxStats rows, const float* dy, float* dq,
                        float* dk, float* dv, int threads);

}  // namespace m2bert::ops::cpu
