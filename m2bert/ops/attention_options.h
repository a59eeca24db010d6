#pragma once
// What the forms of attention (attention.h, varlen_attention.h) do alike with their AttentionOptions.
#include "m2bert/ops/attention.h"
#include "m2bert/ops/streaming_attention.h"

namespace m2bert::ops {

// Throws Error of `op` unless dtypes, bias, slopes and dropout are right; the scores are [B, heads, Lq, Lk].
void check_attention(const char* op, const mx::array& q, const mx::array& k, const mx::array& v, const AttentionOptions& options,
                     const mx::Shape& scores);

// float32 inputs without key_bias.
StreamingInputs streaming_inputs(const mx::array& q, const mx::array& k, const mx::array& v, const AttentionOptions& options,
                                 mx::StreamOrDevice s);
StreamingAttention streaming_options(const mx::array& q, const AttentionOptions& options);

}  // namespace m2bert::ops
