#pragma once
// Attention with a streaming softmax on the CPU, forward and backward, over host memory: blocks of 128 queries by 256 keys.
#include <vector>

#include "m2bert/ops/backend/cpu/simd/attention_simd.h"

namespace m2bert::ops::cpu {

// Vectors of a tensor are counted in memory order; vector (row, head) of a sequence is number first + row * row_step + head * head_step.
struct AttentionSequence {
  int64_t q_first, k_first;
  int queries, keys;
};

struct AttentionPlan {
  std::vector<AttentionSequence> sequences;
  int heads, d, dv;           // dv: columns of v and of the result
  int64_t q_row, q_head;      // steps in q, the result and their gradients
  int64_t k_row, k_head;      // steps in k, v and their gradients
  int64_t queries, keys;      // vectors in q and in k
  int64_t bias_steps[4];      // of bias, by sequence, head, query and key
  int64_t key_bias_step;      // of key_bias, by sequence
  std::vector<float> slopes;  // ALiBi's, one a head; empty: none
  float scale;
  bool causal;
  DropoutHash dropout;
};

struct AttentionInputs {
  const float *q, *k, *v;
  const float *bias, *key_bias;  // or null
};

// softmax's maxima and sums of exponentials, one a query vector.
struct AttentionRows {
  float *maxima, *sums;
};

void attention_forward(const AttentionPlan& plan, const AttentionInputs& in, float* y, AttentionRows rows, int threads);
// Gradients dq, dk, dv from dy.
void attention_backward(const AttentionPlan& plan, const AttentionInputs& in, const float* y, AttentionRows rows, const float* dy,
                        float* dq, float* dk, float* dv, int threads);

}  // namespace m2bert::ops::cpu
