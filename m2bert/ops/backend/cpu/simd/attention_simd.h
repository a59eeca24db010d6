#pragma once
// Attention on the CPU: host memory only, no MLX. A block of the scores is made by a matrix product (attention_blocks.cpp), and the
// functions here turn it, in place, into what the next product wants.
#include <cstdint>

namespace m2bert::ops::cpu {

// Decides which probabilities are dropped: a hash of (key, line, query, key's place), so that forward and backward agree without a mask.
// line counts heads and sequences. ops::dropout_hash (m2bert/ops/streaming_attention.h) is the same in MLX's operations.
struct DropoutHash {
  uint32_t key[2] = {0, 0};
  uint32_t threshold = 0;  // dropped below it; 0: no dropout
  float scale = 1;         // of what is kept
};

// Queries i0 ... i0 + rows - 1 against keys j0 ... j0 + keys - 1 of one head of one sequence: element (r, j) at scores[r * stride + j].
struct ScoreBlock {
  float* scores;
  int64_t stride;
  int rows, keys, i0, j0;
  const float* key_bias;  // [keys] of this block, or null
  const float* bias;      // element (r, j) at bias[r * bias_row + j * bias_key], or null
  int64_t bias_row, bias_key;
  float slope;  // ALiBi
  bool causal;
  const DropoutHash* dropout;  // null: none
  uint32_t line;
};

// Adds the biases; then with the rows' running maxima and sums [rows] turns scores into exp(score - maximum), dropped and scaled, and
// updates both. correction[r]: what the row's earlier results have to be multiplied by.
void softmax_block(const ScoreBlock& block, float* maxima, float* sums, float* correction);

// Adds the biases, and turns scores into probabilities, scores into p = exp(score - maximum) / sum. With dropout m (0 or its scale):
//   score_gradient = p * (probability_gradient * m - delta), in place of probability_gradient, same layout; scores become p * m.
void gradient_block(const ScoreBlock& block, const float* maxima, const float* sums, const float* delta, float* probability_gradient);

// y[c] = x[c] * factor
void scale_row(const float* x, float factor, int n, float* y);
float dot_row(const float* x, const float* y, int n);
void add_row(const float* x, int64_t n, float* y);  // y += x

}  // namespace m2bert::ops::cpu
