#pragma once
// Scaled dot-product attention with an additive bias, and the ALiBi bias.
#include <functional>
#include <optional>
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::ops {

// softmax(q k^T / sqrt(d) + bias) v for q, k, v [B, heads, S, d]; bias broadcasts to [B, heads, S, S].
// on_probabilities, if given, is applied to the softmax (dropout).
mx::array attention(const mx::array& q, const mx::array& k, const mx::array& v, const std::optional<mx::array>& bias,
                    const std::function<mx::array(const mx::array&)>& on_probabilities = {}, mx::StreamOrDevice s = {});

// Attention of padded texts on themselves: q, k, v [B, S, heads * d] -> the same.
//   key_bias [B, S] float32 is added to every query's score of that key; with `alibi` also alibi_bias.
// On the CPU, where no gradient is traced and nothing is done to the probabilities, one kernel that works on a few rows of the scores at
// a time; the reference is composed and holds all of them.
mx::array self_attention(const mx::array& q, const mx::array& k, const mx::array& v, int heads, const mx::array& key_bias, bool alibi,
                         const std::function<mx::array(const mx::array&)>& on_probabilities = {}, mx::StreamOrDevice s = {});
mx::array self_attention_reference(const mx::array& q, const mx::array& k, const mx::array& v, int heads, const mx::array& key_bias,
                                   bool alibi, const std::function<mx::array(const mx::array&)>& on_probabilities = {},
                                   mx::StreamOrDevice s = {});

// One slope a head (Press et al. 2022), also for counts that are no power of two, as the paper's code does it.
std::vector<float> alibi_slopes(int heads);

// [1, heads, S, S] float32: -slope[h] |i - j|.
mx::array alibi_bias(int heads, int S, mx::StreamOrDevice s = {});

// [B, S] float32: 0 where mask [B, S] is 1, `off` where it is 0.
mx::array mask_bias(const mx::array& mask, float off, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
