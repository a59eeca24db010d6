// m2bert.ops: attention and padding.
#include "m2bert/ops/attention.h"

#include <nanobind/stl/function.h>

#include "m2bert/ops/padding.h"
#include "m2bert/ops/varlen_attention.h"
#include "python/bindings/cu_seqlens.h"
#include "python/bindings/ops.h"

namespace m2bert::python {
namespace {

using Probabilities = std::function<mx::array(const mx::array&)>;

void def_sdpa(nb::module_& m, const char* name, decltype(&ops::scaled_dot_product_attention) function, const char* doc) {
  m.def(
      name,
      [function](const mx::array& q, const mx::array& k, const mx::array& v, const OptionalArray& bias, const OptionalArray& key_mask,
                 const std::vector<float>& alibi_slopes, bool causal, std::optional<float> scale, float dropout,
                 const OptionalArray& dropout_key,
                 Stream stream) { return function(q, k, v, {bias, key_mask, alibi_slopes, causal, scale, dropout, dropout_key}, stream); },
      "q"_a, "k"_a, "v"_a, "bias"_a = nb::none(), "key_mask"_a = nb::none(), "alibi_slopes"_a = std::vector<float>(), "causal"_a = false,
      "scale"_a = nb::none(), "dropout"_a = 0.0f, "dropout_key"_a = nb::none(), nb::kw_only(), stream_argument(), doc);
}

// The arguments of attention without padding that follow its arrays.
#define M2BERT_VARLEN_OPTIONS                                                                                                     \
  "bias"_a = nb::none(), "alibi_slopes"_a = std::vector<float>(), "causal"_a = false, "scale"_a = nb::none(), "dropout"_a = 0.0f, \
  "dropout_key"_a = nb::none(), nb::kw_only(), stream_argument()

ops::AttentionOptions varlen_options(const OptionalArray& bias, const std::vector<float>& alibi_slopes, bool causal,
                                     std::optional<float> scale, float dropout, const OptionalArray& dropout_key) {
  return {bias, std::nullopt, alibi_slopes, causal, scale, dropout, dropout_key};
}

void def_varlen(nb::module_& m, const char* name, decltype(&ops::attention_varlen) function, const char* doc) {
  m.def(
      name,
      [function](const mx::array& q, const mx::array& k, const mx::array& v, const CuSeqlensArgument& cu_seqlens_q,
                 const CuSeqlensArgument& cu_seqlens_k, const OptionalArray& bias, const std::vector<float>& alibi_slopes, bool causal,
                 std::optional<float> scale, float dropout, const OptionalArray& dropout_key, Stream stream) {
        return function(q, k, v, cu_seqlens_of(cu_seqlens_q), cu_seqlens_of(cu_seqlens_k),
                        varlen_options(bias, alibi_slopes, causal, scale, dropout, dropout_key), stream);
      },
      "q"_a, "k"_a, "v"_a, "cu_seqlens_q"_a, "cu_seqlens_k"_a, M2BERT_VARLEN_OPTIONS, doc);
}

void bind_flash(nb::module_& m) {
  m.def(
      "flash_attn_unpadded_qkvpacked_func",
      [](const mx::array& qkv, const CuSeqlensArgument& cu_seqlens, int max_seqlen, const OptionalArray& bias,
         const std::vector<float>& alibi_slopes, bool causal, std::optional<float> scale, float dropout, const OptionalArray& dropout_key,
         Stream stream) {
        return ops::flash_attn_unpadded_qkvpacked_func(qkv, cu_seqlens_of(cu_seqlens), max_seqlen,
                                                       varlen_options(bias, alibi_slopes, causal, scale, dropout, dropout_key), stream);
      },
      "qkv"_a, "cu_seqlens"_a, "max_seqlen"_a, M2BERT_VARLEN_OPTIONS,
      "attention_varlen of qkv [nnz, 3, heads, d] -> [nnz, heads, d]. No sequence may be longer than max_seqlen.\n\n"
      ">>> m2bert.ops.flash_attn_unpadded_qkvpacked_func(mx.ones((5, 3, 2, 4)), [0, 3, 5], 3).shape\n"
      "(5, 2, 4)");
  m.def(
      "flash_attn_unpadded_kvpacked_func",
      [](const mx::array& q, const mx::array& kv, const CuSeqlensArgument& cu_seqlens_q, const CuSeqlensArgument& cu_seqlens_k,
         int max_seqlen_q, int max_seqlen_k, const OptionalArray& bias, const std::vector<float>& alibi_slopes, bool causal,
         std::optional<float> scale, float dropout, const OptionalArray& dropout_key, Stream stream) {
        return ops::flash_attn_unpadded_kvpacked_func(q, kv, cu_seqlens_of(cu_seqlens_q), cu_seqlens_of(cu_seqlens_k), max_seqlen_q,
                                                      max_seqlen_k, varlen_options(bias, alibi_slopes, causal, scale, dropout, dropout_key),
                                                      stream);
      },
      "q"_a, "kv"_a, "cu_seqlens_q"_a, "cu_seqlens_k"_a, "max_seqlen_q"_a, "max_seqlen_k"_a, M2BERT_VARLEN_OPTIONS,
      "attention_varlen of q [nnz_q, heads, d] and kv [nnz_k, 2, heads, d].\n\n"
      ">>> q, kv = mx.ones((5, 2, 4)), mx.ones((6, 2, 2, 4))\n"
      ">>> m2bert.ops.flash_attn_unpadded_kvpacked_func(q, kv, [0, 3, 5], [0, 2, 6], 3, 4).shape\n"
      "(5, 2, 4)");
  m.def(
      "flash_attn_unpadded_func",
      [](const mx::array& q, const mx::array& k, const mx::array& v, const CuSeqlensArgument& cu_seqlens_q,
         const CuSeqlensArgument& cu_seqlens_k, int max_seqlen_q, int max_seqlen_k, const OptionalArray& bias,
         const std::vector<float>& alibi_slopes, bool causal, std::optional<float> scale, float dropout, const OptionalArray& dropout_key,
         Stream stream) {
        return ops::flash_attn_unpadded_func(q, k, v, cu_seqlens_of(cu_seqlens_q), cu_seqlens_of(cu_seqlens_k), max_seqlen_q, max_seqlen_k,
                                             varlen_options(bias, alibi_slopes, causal, scale, dropout, dropout_key), stream);
      },
      "q"_a, "k"_a, "v"_a, "cu_seqlens_q"_a, "cu_seqlens_k"_a, "max_seqlen_q"_a, "max_seqlen_k"_a, M2BERT_VARLEN_OPTIONS,
      "attention_varlen with flash-attn's name and arguments.\n\n"
      ">>> x = mx.ones((5, 2, 4))\n"
      ">>> m2bert.ops.flash_attn_unpadded_func(x, x, x, [0, 3, 5], [0, 3, 5], 3, 3).shape\n"
      "(5, 2, 4)");
}

#undef M2BERT_VARLEN_OPTIONS

void bind_self_attention(nb::module_& m) {
  const auto stream = stream_argument();
  m.def("attention", &ops::attention, "q"_a, "k"_a, "v"_a, "bias"_a = nb::none(), "on_probabilities"_a = nb::none(), nb::kw_only(), stream,
        "softmax(q k^T / sqrt(d) + bias) v, which holds all scores: q, k, v [B, heads, S, d], bias broadcasts to [B, heads, S, S].\n\n"
        "on_probabilities: a function of the softmax's result, such as dropout, whose result takes its place.\n\n"
        ">>> x = mx.ones((1, 2, 3, 4))\n"
        ">>> m2bert.ops.attention(x, x, x, on_probabilities=lambda p: 2 * p)[0, 0, 0].tolist()\n"
        "[2.0, 2.0, 2.0, 2.0]");
  m.def("self_attention", &ops::self_attention, "q"_a, "k"_a, "v"_a, "heads"_a, "key_bias"_a, "alibi"_a, "on_probabilities"_a = nb::none(),
        nb::kw_only(), stream,
        "Self-attention of padded sequences: q, k, v [B, S, heads d]; key_bias [B, S] is added to the scores of the keys.\n\n"
        ">>> x = mx.ones((1, 3, 8))\n"
        ">>> m2bert.ops.self_attention(x, x, x, 2, mx.zeros((1, 3)), alibi=True).shape\n"
        "(1, 3, 8)");
  m.def("self_attention_fallback", &ops::self_attention_fallback, "q"_a, "k"_a, "v"_a, "heads"_a, "key_bias"_a, "alibi"_a,
        "on_probabilities"_a = nb::none(), nb::kw_only(), stream, "self_attention, composed of MLX's operations.");
  m.def("alibi_slopes", &ops::alibi_slopes, "heads"_a,
        "The slopes of ALiBi, one for each head.\n\n"
        ">>> m2bert.ops.alibi_slopes(2)\n"
        "[0.0625, 0.00390625]");
  m.def("alibi_bias", &ops::alibi_bias, "heads"_a, "S"_a, nb::kw_only(), stream,
        "-slope |i - j|: float32 [1, heads, S, S].\n\n"
        ">>> m2bert.ops.alibi_bias(2, 3).shape\n"
        "(1, 2, 3, 3)");
  m.def("mask_bias", &ops::mask_bias, "mask"_a, "off"_a, nb::kw_only(), stream,
        "0 where mask [B, S] is 1, `off` where it is 0: float32 [B, S].\n\n"
        ">>> m2bert.ops.mask_bias(mx.array([[1, 0]]), -100.0).tolist()\n"
        "[[0.0, -100.0]]");
}

}  // namespace

void bind_attention(nb::module_& m) {
  def_sdpa(
      m, "scaled_dot_product_attention", &ops::scaled_dot_product_attention,
      "softmax(scale q k^T + bias - slope |i - j|) v with a streaming softmax, whose memory grows with Lq + Lk.\n\n"
      "q [B, heads, Lq, d], k [B, heads, Lk, d], v [B, heads, Lk, dv]; the result is [B, heads, Lq, dv]. bias [B or 1, heads or 1, Lq or "
      "1,\n"
      "Lk or 1]; key_mask [B, Lk], 0: the key is left out; alibi_slopes: one for each head; scale: 1 / sqrt(d) if None; dropout_key: a\n"
      "random key, needed if dropout > 0. Differentiable in q, k, v and bias.\n\n"
      ">>> q = mx.ones((1, 2, 3, 4))\n"
      ">>> m2bert.ops.scaled_dot_product_attention(q, q, q, causal=True).shape\n"
      "(1, 2, 3, 4)");
  def_sdpa(m, "scaled_dot_product_attention_fallback", &ops::scaled_dot_product_attention_fallback,
           "scaled_dot_product_attention, composed of MLX's operations.");
  bind_self_attention(m);
  def_varlen(
      m, "attention_varlen", &ops::attention_varlen,
      "scaled_dot_product_attention of concatenated sequences: q [nnz_q, heads, d], k and v [nnz_k, heads, d] -> [nnz_q, heads, d].\n\n"
      "cu_seqlens_q, cu_seqlens_k: offsets [n + 1] of the sequences, a list or an int32 array.\n\n"
      ">>> x = mx.ones((5, 2, 4))\n"
      ">>> m2bert.ops.attention_varlen(x, x, x, [0, 3, 5], [0, 3, 5]).shape\n"
      "(5, 2, 4)");
  def_varlen(m, "attention_varlen_fallback", &ops::attention_varlen_fallback, "attention_varlen, composed of MLX's operations.");
  bind_flash(m);
}

void bind_padding(nb::module_& m) {
  const auto stream = stream_argument();
  nb::class_<ops::Unpadding>(m, "Unpadding",
                             "Where the rows without padding are in a padded batch.\n\n"
                             ">>> m2bert.ops.unpadding(mx.array([[1, 1, 0], [1, 0, 0]])).cu_seqlens\n"
                             "[0, 2, 3]")
      .def_ro("indices", &ops::Unpadding::indices, "int32 [nnz]: positions in the flattened [B * S], ascending.")
      .def_ro("cu_seqlens", &ops::Unpadding::cu_seqlens, "The cumulative row counts, B + 1 of them.")
      .def_ro("max_seqlen", &ops::Unpadding::max_seqlen, "Rows of the longest sequence.")
      .def_ro("seqlen", &ops::Unpadding::seqlen, "S.")
      .def_ro("contiguous", &ops::Unpadding::contiguous, "No sequence has a hole between its rows.")
      .def_ro("begins_with_tokens", &ops::Unpadding::begins_with_tokens, "Position 0 of every sequence is a row.");
  m.def("unpadding", nb::overload_cast<const mx::array&>(&ops::unpadding), "mask"_a, nb::call_guard<nb::gil_scoped_release>(),
        "Reads a mask [B, S], where non-zero is a real token. Evaluates it.\n\n"
        ">>> m2bert.ops.unpadding(mx.array([[1, 1, 0], [1, 0, 0]])).indices.tolist()\n"
        "[0, 1, 3]");
  m.def("index_first_axis", &ops::index_first_axis, "x"_a, "indices"_a, nb::kw_only(), stream,
        "x[indices] along the first axis: x [n, ...], indices [m]; the gradients of a repeated index add up.\n\n"
        ">>> m2bert.ops.index_first_axis(mx.array([1.0, 2.0]), mx.array([1, 1])).tolist()\n"
        "[2.0, 2.0]");
  m.def("index_put_first_axis", &ops::index_put_first_axis, "v"_a, "indices"_a, "first_axis_dim"_a, nb::kw_only(), stream,
        "Zeros [first_axis_dim, ...] with the rows of v [m, ...] at indices [m].\n\n"
        ">>> m2bert.ops.index_put_first_axis(mx.array([5.0]), mx.array([1]), 3).tolist()\n"
        "[0.0, 5.0, 0.0]");
  m.def(
      "unpad_input", [](const mx::array& x, const mx::array& mask, Stream s) { return ops::unpad_input(x, mask, s); }, "x"_a, "mask"_a,
      nb::kw_only(), stream,
      "The rows [nnz, ...] of a padded batch x [B, S, ...]. mask: [B, S], then the result is (rows, Unpadding); or an Unpadding u.\n\n"
      ">>> rows, u = m2bert.ops.unpad_input(mx.ones((2, 3, 4)), mx.array([[1, 1, 0], [1, 0, 0]]))\n"
      ">>> rows.shape, u.max_seqlen\n"
      "((3, 4), 2)");
  m.def(
      "unpad_input", [](const mx::array& x, const ops::Unpadding& u, Stream s) { return ops::unpad_input(x, u, s); }, "x"_a, "u"_a,
      nb::kw_only(), stream);
  m.def("unpad_input_only", &ops::unpad_input_only, "x"_a, "mask"_a, nb::kw_only(), stream,
        "Only the rows of unpad_input.\n\n"
        ">>> m2bert.ops.unpad_input_only(mx.ones((1, 3, 4)), mx.array([[1, 1, 0]])).shape\n"
        "(2, 4)");
  m.def(
      "pad_input",
      [](const mx::array& rows, const mx::array& indices, int batch, int seqlen, Stream s) {
        return ops::pad_input(rows, indices, batch, seqlen, s);
      },
      "rows"_a, "indices"_a, "batch"_a, "seqlen"_a, nb::kw_only(), stream,
      "Rows [nnz, ...] -> [batch, seqlen, ...] with zeros at the padding. In place of indices [nnz], an Unpadding u.\n\n"
      ">>> m2bert.ops.pad_input(mx.ones((2,)), mx.array([0, 3]), 2, 3).tolist()\n"
      "[[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]");
  m.def(
      "pad_input",
      [](const mx::array& rows, const ops::Unpadding& u, int batch, int seqlen, Stream s) {
        return ops::pad_input(rows, u, batch, seqlen, s);
      },
      "rows"_a, "u"_a, "batch"_a, "seqlen"_a, nb::kw_only(), stream);
}

}  // namespace m2bert::python
