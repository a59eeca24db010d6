#pragma once
// Attention within each of several concatenated sequences, without padding, and its packed forms.
// Source: Dao et al., FlashAttention (2022); upstream's ops/bert_flashattention, whose names the packed forms have.
#include "m2bert/ops/attention.h"
#include "m2bert/ops/cu_seqlens.h"

namespace m2bert::ops {

// scaled_dot_product_attention of each sequence: the queries q [nnz_q, heads, d] of sequence b with the keys k [nnz_k, heads, d] and
// values v [nnz_k, heads, dv] of sequence b -> [nnz_q, heads, dv]. Both have the same number of sequences, and the last offsets are nnz_q
// and nnz_k. Options as there, with positions counted within a sequence: bias is [n or 1, heads or 1, longest_q or 1, longest_k or 1] (or
// longer), and there is no key_mask, because the lengths determine the keys. A query whose sequence has no keys gets zeros.
mx::array attention_varlen(const mx::array& q, const mx::array& k, const mx::array& v, const CuSeqlens& cu_seqlens_q,
                           const CuSeqlens& cu_seqlens_k, const AttentionOptions& options = {}, mx::StreamOrDevice s = {});
// scaled_dot_product_attention_fallback of one sequence after another.
mx::array attention_varlen_fallback(const mx::array& q, const mx::array& k, const mx::array& v, const CuSeqlens& cu_seqlens_q,
                                    const CuSeqlens& cu_seqlens_k, const AttentionOptions& options = {}, mx::StreamOrDevice s = {});

// attention_varlen for inference, of q, k and v as one linear layer gives them: qkv [nnz, 3, heads, d] -> [nnz, heads, d]. It reads them
// where they are. options.bias and .dropout are not allowed. No gradient.
mx::array attention_varlen_qkv(const mx::array& qkv, const CuSeqlens& cu_seqlens, const AttentionOptions& options = {},
                               mx::StreamOrDevice s = {});

// Upstream's forms: qkv [nnz, 3, heads, d]; q [nnz_q, heads, d] with kv [nnz_k, 2, heads, d]; q, k and v separately. The result is
// [nnz_q, heads, d]. No sequence may be longer than max_seqlen, which has no other effect. options.dropout, .scale and .causal are
// upstream's dropout_p, softmax_scale and causal. Upstream's split form is the first of these in two launches, with the same result.
mx::array flash_attn_unpadded_qkvpacked_func(const mx::array& qkv, const CuSeqlens& cu_seqlens, int max_seqlen,
                                             const AttentionOptions& options = {}, mx::StreamOrDevice s = {});
mx::array flash_attn_unpadded_kvpacked_func(const mx::array& q, const mx::array& kv, const CuSeqlens& cu_seqlens_q,
                                            const CuSeqlens& cu_seqlens_k, int max_seqlen_q, int max_seqlen_k,
                                            const AttentionOptions& options = {}, mx::StreamOrDevice s = {});
mx::array flash_attn_unpadded_func(const mx::array& q, const mx::array& k, const mx::array& v, const CuSeqlens& cu_seqlens_q,
                                   const CuSeqlens& cu_seqlens_k, int max_seqlen_q, int max_seqlen_k, const AttentionOptions& options = {},
                                   mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
