#pragma once
// Attention that never holds the scores of all queries and keys: what scaled_dot_product_attention (attention.h) and its form for rows
// without padding (varlen_attention.h) use. Source: Dao et al., FlashAttention (2022).
#include <cstdint>
#include <optional>
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::ops {

// Sequences inside q [queries, heads, d] and k, v [keys, heads, d]: offsets [n + 1], ascending from 0. Without it q, k and v are
// [n, heads, L, d].
struct SequenceOffsets {
  std::vector<int> q, k;
};

struct StreamingAttention {
  float scale = 1;
  bool causal = false;              // a query sees the keys up to its own position
  std::vector<float> alibi_slopes;  // one per head, or empty
  float dropout = 0;
  std::optional<SequenceOffsets> offsets;
};

// Block sizes of the form that is composed of MLX operations; tests set them.
struct AttentionBlocks {
  int queries = 0, keys = 0;  // 0: chosen from the sizes of the inputs
};

// softmax(scale q k^T + bias + key_bias - slope |i - j|) v in float32, for float32 inputs, with gradients for q, k, v and bias.
//   bias [n or 1, heads or 1, Lq or 1, Lk or 1]   key_bias [n, Lk]   dropout_key [2] uint32
// A query whose keys are all masked out (at minus infinity) gets zeros.
struct StreamingInputs {
  mx::array q, k, v;
  std::optional<mx::array> bias, key_bias, dropout_key;
};
// Uses a kernel if there is one and `blocks` is not given; otherwise, and for the gradient of bias, blocks composed of MLX operations.
mx::array streaming_attention(const StreamingInputs& in, const StreamingAttention& what, mx::StreamOrDevice s,
                              const std::optional<AttentionBlocks>& blocks = std::nullopt);

// The dropout factors of the probabilities of queries i0 ... i0 + rows - 1 and keys j0 ... j0 + keys - 1: [sequences, heads, rows, keys]
// of 0 and 1 / (1 - p). A value depends only on the random key and on its sequence, head, query and key, so any block can be recomputed.
// sequence: the number of the first sequence.
mx::array attention_dropout(const mx::array& key, float p, int sequence, int sequences, int heads, int i0, int rows, int j0, int keys,
                            mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
