// m2bert.ops: the Monarch Mixer, its filter networks, and the channel mixer.
#include "m2bert/ops/feed_forward.h"
#include "m2bert/ops/filter_network.h"
#include "m2bert/ops/mixer_block.h"
#include "m2bert/ops/monarch_mix.h"
#include "python/bindings/cu_seqlens.h"
#include "python/bindings/ops.h"

namespace m2bert::python {
namespace {

// nanobind's arguments of a MixerFilters, after k and D.
#define M2BERT_FILTERS                                                                                                                \
  "k"_a, "D"_a, "k_rev"_a = nb::none(), "k2"_a = nb::none(), "D2"_a = nb::none(), "k2_rev"_a = nb::none(), "spectrum"_a = nb::none(), \
                "spectrum2"_a = nb::none()

ops::MixerFilters filters_of(const mx::array& k, const mx::array& D, const OptionalArray& k_rev, const OptionalArray& k2,
                             const OptionalArray& D2, const OptionalArray& k2_rev, const OptionalArray& spectrum,
                             const OptionalArray& spectrum2) {
  return {k, D, k_rev, k2, D2, k2_rev, spectrum, spectrum2};
}

void def_monarch_mix(nb::module_& m, const char* name, decltype(&ops::monarch_mix) function, const char* doc) {
  m.def(
      name,
      [function](const mx::array& projected, const mx::array& u, const mx::array& short_weight, const mx::array& short_bias,
                 const mx::array& k, const mx::array& D, const OptionalArray& k_rev, const OptionalArray& k2, const OptionalArray& D2,
                 const OptionalArray& k2_rev, const OptionalArray& spectrum, const OptionalArray& spectrum2, bool gelu,
                 const OptionalArray& dropout_mask, Stream stream) {
        return function(projected, u, short_weight, short_bias, filters_of(k, D, k_rev, k2, D2, k2_rev, spectrum, spectrum2),
                        {gelu, dropout_mask}, stream);
      },
      "projected"_a, "u"_a, "short_weight"_a, "short_bias"_a, M2BERT_FILTERS, "gelu"_a = false, "dropout_mask"_a = nb::none(),
      nb::kw_only(), stream_argument(), doc);
}

void def_monarch_mix_varlen(nb::module_& m, const char* name, decltype(&ops::monarch_mix_varlen) function, const char* doc) {
  m.def(
      name,
      [function](const mx::array& projected, const mx::array& u, const CuSeqlensArgument& cu_seqlens, const mx::array& short_weight,
                 const mx::array& short_bias, const mx::array& k, const mx::array& D, const OptionalArray& k_rev, const OptionalArray& k2,
                 const OptionalArray& D2, const OptionalArray& k2_rev, const OptionalArray& spectrum, const OptionalArray& spectrum2,
                 Stream stream) {
        return function(projected, u, cu_seqlens_of(cu_seqlens), short_weight, short_bias,
                        filters_of(k, D, k_rev, k2, D2, k2_rev, spectrum, spectrum2), stream);
      },
      "projected"_a, "u"_a, "cu_seqlens"_a, "short_weight"_a, "short_bias"_a, M2BERT_FILTERS, nb::kw_only(), stream_argument(), doc);
}

void def_mixer_block(nb::module_& m, const char* name, decltype(&ops::mixer_block) function, const char* doc) {
  m.def(
      name,
      [function](const mx::array& u, const mx::array& in_weight, const OptionalArray& in_bias, const mx::array& short_weight,
                 const mx::array& short_bias, const mx::array& out_weight, const OptionalArray& out_bias, const mx::array& k,
                 const mx::array& D, const OptionalArray& k_rev, const OptionalArray& k2, const OptionalArray& D2,
                 const OptionalArray& k2_rev, const OptionalArray& spectrum, const OptionalArray& spectrum2, bool gelu,
                 const OptionalArray& dropout_mask, Stream stream) {
        return function(u, {in_weight, in_bias, short_weight, short_bias, out_weight, out_bias},
                        filters_of(k, D, k_rev, k2, D2, k2_rev, spectrum, spectrum2), {gelu, dropout_mask}, stream);
      },
      "u"_a, "in_weight"_a, "in_bias"_a.none(), "short_weight"_a, "short_bias"_a, "out_weight"_a, "out_bias"_a.none(), M2BERT_FILTERS,
      "gelu"_a = false, "dropout_mask"_a = nb::none(), nb::kw_only(), stream_argument(), doc);
}

ops::Activation activation_named(const std::string& name) {
  using enum ops::Activation;
  return named<ops::Activation>("activation", name,
                                {{"gelu", gelu}, {"gelu_tanh", gelu_tanh}, {"relu", relu}, {"silu", silu}, {"tanh", tanh}});
}

void def_feed_forward(nb::module_& m, const char* name, decltype(&ops::feed_forward) function, const char* doc) {
  m.def(
      name,
      [function](const mx::array& x, const mx::array& up, const OptionalArray& up_bias, const mx::array& down,
                 const OptionalArray& down_bias, const mx::array& norm_weight, const mx::array& norm_bias, float eps,
                 const std::string& activation, bool gated, float p, const OptionalArray& key, Stream stream) {
        return function(x, {up, up_bias, down, down_bias, norm_weight, norm_bias, eps, activation_named(activation), gated}, p, key,
                        stream);
      },
      "x"_a, "up"_a, "up_bias"_a.none(), "down"_a, "down_bias"_a.none(), "norm_weight"_a, "norm_bias"_a, "eps"_a = 1e-12f,
      "activation"_a = "gelu", "gated"_a = false, "p"_a = 0.0f, "key"_a = nb::none(), nb::kw_only(), stream_argument(), doc);
}

#undef M2BERT_FILTERS

}  // namespace

void bind_mixer(nb::module_& m) {
  const auto stream = stream_argument();
  def_monarch_mix(
      m, "monarch_mix", &ops::monarch_mix,
      "The Monarch Mixer between its two projections: x2 * g(conv(x1 * v; k, D)) + conv(u; k2, D2).\n\n"
      "projected [B, L, 3 H], u [B, L, H], short_weight [3 H, 1, K], short_bias [3 H]; filters k, k_rev, k2, k2_rev [L, H], D, D2\n"
      "[H]; the result is [B, L, H]. k_rev and k2_rev: both, or neither for a causal mixer. spectrum: long_conv_spectrum(k, k_rev).\n\n"
      ">>> L, H = 8, 4\n"
      ">>> y = m2bert.ops.monarch_mix(mx.ones((1, L, 3 * H)), mx.ones((1, L, H)), mx.ones((3 * H, 1, 3)), mx.zeros((3 * H,)),\n"
      "...                            k=mx.ones((L, H)), D=mx.ones((H,)))\n"
      ">>> y.shape\n"
      "(1, 8, 4)");
  def_monarch_mix(m, "monarch_mix_fallback", &ops::monarch_mix_fallback, "monarch_mix, composed of MLX's operations.");
  def_monarch_mix_varlen(
      m, "monarch_mix_varlen", &ops::monarch_mix_varlen,
      "monarch_mix of sequences of different lengths as rows without padding: projected [nnz, 3 H], u [nnz, H] -> [nnz, H].\n\n"
      "cu_seqlens: offsets [n + 1] of the sequences. The filters [F, H] have at least as many rows as the longest one.\n\n"
      ">>> y = m2bert.ops.monarch_mix_varlen(mx.ones((5, 12)), mx.ones((5, 4)), [0, 3, 5], mx.ones((12, 1, 3)), mx.zeros((12,)),\n"
      "...                                   k=mx.ones((8, 4)), D=mx.ones((4,)))\n"
      ">>> y.shape\n"
      "(5, 4)");
  def_monarch_mix_varlen(m, "monarch_mix_varlen_fallback", &ops::monarch_mix_varlen_fallback,
                         "monarch_mix_varlen, composed of MLX's operations.");
  m.def("varlen_filter_length", &ops::varlen_filter_length, "length"_a, "available"_a,
        "The rows of the filters that monarch_mix_varlen reads for a sequence of `length` tokens.\n\n"
        ">>> m2bert.ops.varlen_filter_length(5, 128)\n"
        "8");
  def_mixer_block(
      m, "mixer_block", &ops::mixer_block,
      "The whole Monarch Mixer: projection, monarch_mix, projection. u [B, L, H] -> [B, L, H].\n\n"
      "in_weight [3 H, H], in_bias [3 H] or None, out_weight [H, H], out_bias [H] or None; the rest as in monarch_mix.\n\n"
      ">>> L, H = 8, 4\n"
      ">>> y = m2bert.ops.mixer_block(mx.ones((1, L, H)), mx.ones((3 * H, H)), None, mx.ones((3 * H, 1, 3)), mx.zeros((3 * H,)),\n"
      "...                            mx.ones((H, H)), None, k=mx.ones((L, H)), D=mx.ones((H,)))\n"
      ">>> y.shape\n"
      "(1, 8, 4)");
  def_mixer_block(m, "mixer_block_fallback", &ops::mixer_block_fallback, "mixer_block, composed of MLX's operations.");
  m.def("sine_linear", &ops::sine_linear, "x"_a, "weight"_a, "bias"_a, "freq"_a, nb::kw_only(), stream,
        "sin(freq (x weight^T + bias)): x [L, in], weight [out, in], bias [out], freq [out]; the result is [L, out].\n\n"
        ">>> m2bert.ops.sine_linear(mx.ones((4, 3)), mx.ones((2, 3)), mx.ones((2,)), mx.ones((2,))).shape\n"
        "(4, 2)");
  m.def("sine_linear_fallback", &ops::sine_linear_fallback, "x"_a, "weight"_a, "bias"_a, "freq"_a, nb::kw_only(), stream,
        "sine_linear, composed of MLX's operations.");
  m.def("exponential_decay", &ops::exponential_decay, "x"_a, "times"_a, "deltas"_a, nb::kw_only(), stream,
        "x * exp(-times |deltas|): x [L, H], times [L], deltas [H].\n\n"
        ">>> m2bert.ops.exponential_decay(mx.ones((2, 1)), mx.array([0.0, 1.0]), mx.zeros((1,))).tolist()\n"
        "[[1.0], [1.0]]");
  m.def("exponential_decay_fallback", &ops::exponential_decay_fallback, "x"_a, "times"_a, "deltas"_a, nb::kw_only(), stream,
        "exponential_decay, composed of MLX's operations.");
  def_feed_forward(
      m, "feed_forward", &ops::feed_forward,
      "The channel mixer: layer_norm(down(dropout(act(up(x)), p)) + x). x [..., H] -> [..., H].\n\n"
      "up [I, H], up_bias [I] or None, down [H, I], down_bias [H] or None, norm_weight and norm_bias [H]; gated: up has 2 I rows, and\n"
      "act(up(x)[..., :I]) * up(x)[..., I:] takes the place of act(up(x)). activation: \"gelu\", \"gelu_tanh\", \"relu\", \"silu\", "
      "\"tanh\".\n"
      "key: a random key; without it there is no dropout.\n\n"
      ">>> H, I = 4, 8\n"
      ">>> m2bert.ops.feed_forward(mx.ones((2, H)), mx.ones((2 * I, H)), None, mx.ones((H, I)), None, mx.ones((H,)), mx.zeros((H,)),\n"
      "...                         gated=True).shape\n"
      "(2, 4)");
  def_feed_forward(m, "feed_forward_fallback", &ops::feed_forward_fallback, "feed_forward, composed of MLX's operations.");
}

}  // namespace m2bert::python
