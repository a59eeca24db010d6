#pragma once
// Attention that never holds the scores of all queries and keys: the two implementations behind scaled_dot_product_attention
// (attention.h) and its forms for rows without padding (varlen_attention.h). Source: Dao et al., FlashAttention (2022).
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
  bool causal = false;              // a query sees the keys up to its own place
  std::vector<float> alibi_slopes;  // one a head, or empty
  float dropout = 0;
  std::optional<SequenceOffsets> offsets;
};

// Composed of MLX's operations over blocks; for tests a block's size is an argument.
struct AttentionBlocks {
  int queries = 0, keys = 0;  // 0: chosen by the size of the inputs
};

// softmax(scale q k^T + bias + key_bias - slope |i - j|) v in float32, for float32 inputs, with gradients for q, k, v and bias.
//   bias [n or 1, heads or 1, Lq or 1, Lk or 1]   key_bias [n, Lk]   dropout_key [2] uint32
// A query that no key counts for (all of them at minus infinity) gets zeros.
struct StreamingInputs {
  mx::array q, k, v;
  std::optional<mx::array> bias, key_bias, dropout_key;
};
// On the CPU our kernel, except for the gradient of bias; elsewhere, and with `blocks` given, the composed form.
mx::array streaming_attention(const StreamingInputs& in, const StreamingAttention& what, mx::StreamOrDevice s,
                              const std::optional<AttentionBlocks>& blocks = std::nullopt);

// What dropout multiplies the probabilities of queries i0 ... i0 + rows - 1 and keys j0 ... j0 + keys - 1 by: [sequences, heads, rows,
// keys] of 0 and 1 / (1 - p). A value depends on the key, its sequence, its head, its query and its key, and on nothing else, so that any
// block can be made again. sequence: number of the first.
mx::array attention_dropout(const mx::array& key, float p, int sequence, int sequences, int heads, int i0, int rows, int j0, int keys,
                            mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
