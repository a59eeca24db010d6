#pragma once
// Scaled dot-product attention, its biases, and self-attention of padded sequences.
#include <functional>
#include <optional>
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::ops {

// softmax(q k^T / sqrt(d) + bias) v for q, k, v [B, heads, S, d]; bias broadcasts to [B, heads, S, S].
// on_probabilities, if given, is applied to the softmax's result (dropout). Holds all scores in memory.
mx::array attention(const mx::array& q, const mx::array& k, const mx::array& v, const std::optional<mx::array>& bias,
                    const std::function<mx::array(const mx::array&)>& on_probabilities = {}, mx::StreamOrDevice s = {});

// Bias, masks and dropout.
struct AttentionOptions {
  std::optional<mx::array> bias;         // [B or 1, heads or 1, Lq or 1, Lk or 1], added to the scores; differentiable
  std::optional<mx::array> key_mask;     // [B, Lk], any dtype: keys where it is 0 are masked out
  std::vector<float> alibi_slopes;       // one per head: adds -slope |i - j|; see alibi_slopes(heads)
  bool causal = false;                   // query i sees keys 0 ... i, even if Lq and Lk differ
  std::optional<float> scale;            // default: 1 / sqrt(d)
  float dropout = 0;                     // probability, 0 <= dropout < 1
  std::optional<mx::array> dropout_key;  // [2] uint32, required if dropout > 0; the same key gives the same mask in every form
};

// softmax(scale q k^T + bias - slope |i - j|) v with a streaming softmax: scores are computed block by block, and again for the gradient,
// so memory grows with Lq + Lk and not with Lq Lk.
//   q [B, heads, Lq, d]   k [B, heads, Lk, d]   v [B, heads, Lk, dv]  -> [B, heads, Lq, dv] in q's dtype
// q, k and v have one dtype: float32, bfloat16 or float16; the arithmetic is float32. A query whose keys are all masked out gets zeros.
// Differentiable once in q, k, v and bias; the mask and the key have no gradient. The fallback holds all scores and gives the same values
// for the same key. Throws Error on wrong shapes, dtypes or options.
// Source: Dao et al., FlashAttention (2022); Press et al., ALiBi (2022); upstream's flash_attn_triton, which has neither dropout nor a
// gradient for the bias.
mx::array scaled_dot_product_attention(const mx::array& q, const mx::array& k, const mx::array& v, const AttentionOptions& options = {},
                                       mx::StreamOrDevice s = {});
mx::array scaled_dot_product_attention_fallback(const mx::array& q, const mx::array& k, const mx::array& v,
                                                const AttentionOptions& options = {}, mx::StreamOrDevice s = {});

// Self-attention of padded sequences: q, k, v [B, S, heads * d] -> the same shape.
//   key_bias [B, S] float32 is added to every query's score of that key; with `alibi`, alibi_bias is added too.
// Streaming, unless on_probabilities is given. The fallback holds all scores.
mx::array self_attention(const mx::array& q, const mx::array& k, const mx::array& v, int heads, const mx::array& key_bias, bool alibi,
                         const std::function<mx::array(const mx::array&)>& on_probabilities = {}, mx::StreamOrDevice s = {});
mx::array self_attention_fallback(const mx::array& q, const mx::array& k, const mx::array& v, int heads, const mx::array& key_bias,
                                  bool alibi, const std::function<mx::array(const mx::array&)>& on_probabilities = {},
                                  mx::StreamOrDevice s = {});

// One slope per head (Press et al. 2022). If heads is not a power of two, the slopes are chosen as in the paper's code.
std::vector<float> alibi_slopes(int heads);

// [1, heads, S, S] float32: -slope[h] |i - j|.
mx::array alibi_bias(int heads, int S, mx::StreamOrDevice s = {});

// [B, S] float32: 0 where mask [B, S] is 1, `off` where it is 0.
mx::array mask_bias(const mx::array& mask, float off, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
