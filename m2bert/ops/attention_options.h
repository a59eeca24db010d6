#pragma once
// How the forms of attention (attention.h, varlen_attention.h) check and read their AttentionOptions.
#include "m2bert/ops/attention.h"
#include "m2bert/ops/streaming_attention.h"

namespace m2bert::ops {

// Throws Error, naming `op`, unless dtypes, bias, slopes and dropout are valid. scores is the shape of the scores, [B, heads, Lq, Lk].
void check_attention(const char* op, const mx::array& q, const mx::array& k, const mx::array& v, const AttentionOptions& options,
                     const mx::Shape& scores);

// The inputs as float32, without key_bias.
StreamingInputs streaming_inputs(const mx::array& q, const mx::array& k, const mx::array& v, const AttentionOptions& options,
                                 mx::StreamOrDevice s);
StreamingAttention streaming_options(const mx::array& q, const AttentionOptions& options);

}  // namespace m2bert::ops
