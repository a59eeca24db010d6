#pragma once
// Scaled dot-product attention, its biases, and the attention of padded texts on themselves.
#include <functional>
#include <optional>
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::ops {

// softmax(q k^T / sqrt(d) + bias) v for q, k, v [B, heads, S, d]; bias broadcasts to [B, heads, S, S].
// on_probabilities, if given, is applied to the softmax (dropout). Holds all scores.
mx::array attention(const mx::array& q, const mx::array& k, const mx::array& v, const std::optional<mx::array>& bias,
                    const std::function<mx::array(const mx::array&)>& on_probabilities = {}, mx::StreamOrDevice s = {});

// What is added to the scores, which of them count, and dropout.
struct AttentionOptions {
  std::optional<mx::array> bias;         // [B or 1, heads or 1, Lq or 1, Lk or 1], added; differentiable
  std::optional<mx::array> key_mask;     // [B, Lk], any type: keys where it is 0 do not count
  std::vector<float> alibi_slopes;       // one a head: -slope |i - j| is added (alibi_slopes(heads) makes them)
  bool causal = false;                   // query i sees the keys 0 ... i, also where Lq and Lk differ
  std::optional<float> scale;            // 1 / sqrt(d) if not given
  float dropout = 0;                     // of the probabilities, 0 <= dropout < 1
  std::optional<mx::array> dropout_key;  // [2] uint32, wanted with dropout > 0; it decides the mask, in every form the same
};

// softmax(scale q k^T + bias - slope |i - j|) v with a streaming softmax: blocks of the scores are made, used and made again for the
// gradient, so memory grows with Lq + Lk and not with Lq Lk.
//   q [B, heads, Lq, d]   k [B, heads, Lk, d]   v [B, heads, Lk, dv]  -> [B, heads, Lq, dv] in q's dtype
// float32, bfloat16 or float16, all three the same; computed in float32. A query for which no key counts gets zeros. Differentiable in q,
// k, v and bias, once; the mask and the key have no gradient. On the CPU a kernel, elsewhere composed of blocks (streaming_attention.h).
// The reference is composed, holds all scores, and gives the same values for the same key. Throws Error on wrong shapes, dtypes or options.
// Source: Dao et al., FlashAttention (2022); Press et al., ALiBi (2022); flash_attn_triton of the reference, which has neither dropout
// nor a gradient for the bias.
mx::array scaled_dot_product_attention(const mx::array& q, const mx::array& k, const mx::array& v, const AttentionOptions& options = {},
                                       mx::StreamOrDevice s = {});
mx::array scaled_dot_product_attention_fallback(const mx::array& q, const mx::array& k, const mx::array& v,
                                                 const AttentionOptions& options = {}, mx::StreamOrDevice s = {});

// Attention of padded texts on themselves: q, k, v [B, S, heads * d] -> the same.
//   key_bias [B, S] float32 is added to every query's score of that key; with `alibi` also alibi_bias.
// Streaming, unless something is done to the probabilities; the reference is composed and holds all of the scores.
mx::array self_attention(const mx::array& q, const mx::array& k, const mx::array& v, int heads, const mx::array& key_bias, bool alibi,
                         const std::function<mx::array(const mx::array&)>& on_probabilities = {}, mx::StreamOrDevice s = {});
mx::array self_attention_fallback(const mx::array& q, const mx::array& k, const mx::array& v, int heads, const mx::array& key_bias,
                                   bool alibi, const std::function<mx::array(const mx::array&)>& on_probabilities = {},
                                   mx::StreamOrDevice s = {});

// One slope a head (Press et al. 2022), also for counts that are no power of two, as the paper's code does it.
std::vector<float> alibi_slopes(int heads);

// [1, heads, S, S] float32: -slope[h] |i - j|.
mx::array alibi_bias(int heads, int S, mx::StreamOrDevice s = {});

// [B, S] float32: 0 where mask [B, S] is 1, `off` where it is 0.
mx::array mask_bias(const mx::array& mask, float off, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
