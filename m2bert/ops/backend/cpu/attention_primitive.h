#pragma once
#include <optional>
#include <vector>

#include "m2bert/mx.h"
#include "m2bert/ops/backend/cpu/simd/attention_host.h"

namespace m2bert::ops::cpu {

// q, k, v float32, laid out as a plan tells. bias float32 with the plan's steps; key_bias [sequences, keys of the longest] float32;
// dropout_key [2] uint32 takes the place of plan.dropout.key.
struct AttentionArrays {
  mx::array q, k, v;
  std::optional<mx::array> bias, key_bias, dropout_key;
};

// Attention with a streaming softmax on the CPU. No gradient: attention_backward is it.
// -> y as q with dv columns, softmax's maxima and sums as q without columns.
std::vector<mx::array> attention_forward(const AttentionArrays& in, const AttentionPlan& plan, mx::Stream s);
// -> dq, dk, dv. results: those of attention_forward.
std::vector<mx::array> attention_backward(const AttentionArrays& in, const AttentionPlan& plan, const std::vector<mx::array>& results,
                                          const mx::array& dy, mx::Stream s);

}  // namespace m2bert::ops::cpu
