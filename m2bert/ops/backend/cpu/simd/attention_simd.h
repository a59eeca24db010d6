#pragma once
// The softmax of attention on a block of the scores, which attention_host.cpp computes by a GEMM, in place, so that the next GEMM can read
// it. Host memory only, on the calling thread; thread-safe.
#include <cstddef>
#include <cstdint>

namespace m2bert::ops::cpu {

// Decides which probabilities dropout drops by a hash of (key, line, query, position of the attention key), so that forward and backward
// agree without a mask. line counts heads and sequences. ops::dropout_hash (m2bert/ops/streaming_attention.h) is the same function in MLX
// operations.
struct DropoutHash {
  uint32_t key[2] = {0, 0};
  uint32_t threshold = 0;  // hashes below it are dropped; 0: no dropout
  float scale = 1;         // of the probabilities that are kept
};

// The scores of queries i0 ... i0 + rows - 1 and keys j0 ... j0 + keys - 1 of one head of one sequence: element (r, j) at scores[r * stride
// + j].
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

// Adds the biases, updates the running maxima and sums [rows] of the rows, and turns scores into exp(score - maximum), with dropout
// applied. correction[r]: the factor by which the row's earlier results must be multiplied.
void softmax_block(const ScoreBlock& block, float* maxima, float* sums, float* correction);

// Adds the biases and computes the probabilities p = exp(score - maximum) / sum. With the dropout factor m (0 or its scale), scores become
// p * m, and probability_gradient, which has the same layout, becomes the gradient of the scores, p * (probability_gradient * m - delta).
void gradient_block(const ScoreBlock& block, const float* maxima, const float* sums, const float* delta, float* probability_gradient);

// A head of a sequence: rows of vectors, of d values in q and k and of dv in v and y. Strides count floats between rows.
struct HeadRows {
  const float *q, *k, *v;
  float* y;
  int64_t q_stride, k_stride, v_stride, y_stride;
  int queries, keys, d, dv;
  float scale;            // of the scores
  const float* key_bias;  // [keys] or null
  float slope;            // ALiBi
  float *maxima, *sums;   // of the softmax of query i, at i * stats_stride; or null
  int64_t stats_stride;
};

// Whether attend_head takes vectors of these widths on this CPU, and the floats of memory that it needs for so many keys.
bool attend_head_supports(int d, int dv);
size_t attend_head_scratch(int keys, int d);
// y = softmax(scale q k^T + key_bias - slope |i - j|) v, for few keys. A query whose keys are all at minus infinity gets zeros.
void attend_head(const HeadRows& head, float* scratch);

// y[c] = x[c] * factor
void scale_row(const float* x, float factor, int n, float* y);
// The sum of x[c] * y[c].
float dot_row(const float* x, const float* y, int n);
// y[c] += x[c]
void add_row(const float* x, int64_t n, float* y);

}  // namespace m2bert::ops::cpu
