// m2bert.ops: convolutions along the sequence.
#include "m2bert/ops/conv1d.h"
#include "m2bert/ops/long_conv.h"
#include "python/bindings/ops.h"

namespace m2bert::python {
namespace {

ops::ChannelAxis channels_named(const std::string& name) {
  return named<ops::ChannelAxis>("channels", name, {{"last", ops::ChannelAxis::last}, {"first", ops::ChannelAxis::first}});
}

using Conv1d = mx::array (*)(const mx::array&, const mx::array&, const OptionalArray&, const ops::Conv1dOptions&, Stream);

void def_conv1d(nb::module_& m, const char* name, Conv1d function, const char* doc) {
  m.def(
      name,
      [function](const mx::array& x, const mx::array& weight, const OptionalArray& bias, int stride, int padding, int dilation, int groups,
                 const std::string& channels, Stream stream) {
        return function(x, weight, bias, {stride, padding, dilation, groups, channels_named(channels)}, stream);
      },
      "x"_a, "weight"_a, "bias"_a = nb::none(), "stride"_a = 1, "padding"_a = 0, "dilation"_a = 1, "groups"_a = 1, "channels"_a = "last",
      nb::kw_only(), stream_argument(), doc);
}

void def_depthwise(nb::module_& m, const char* name, Conv1d function, const char* doc) {
  m.def(
      name,
      [function](const mx::array& x, const mx::array& weight, const OptionalArray& bias, int stride, int padding, int dilation,
                 const std::string& channels,
                 Stream stream) { return function(x, weight, bias, {stride, padding, dilation, 1, channels_named(channels)}, stream); },
      "x"_a, "weight"_a, "bias"_a = nb::none(), "stride"_a = 1, "padding"_a = 0, "dilation"_a = 1, "channels"_a = "last", nb::kw_only(),
      stream_argument(), doc);
}

using LongConv = mx::array (*)(const mx::array&, const mx::array&, const OptionalArray&, const mx::array&, const ops::LongConvOptions&,
                               Stream);

void def_long_conv(nb::module_& m, const char* name, LongConv function, const char* doc) {
  m.def(
      name,
      [function](const mx::array& u, const mx::array& k, const OptionalArray& k_rev, const mx::array& D, bool gelu,
                 const OptionalArray& dropout_mask, Stream stream) { return function(u, k, k_rev, D, {gelu, dropout_mask}, stream); },
      "u_bld"_a, "k_ld"_a, "k_rev_ld"_a.none(), "D_d"_a, "gelu"_a = false, "dropout_mask"_a = nb::none(), nb::kw_only(), stream_argument(),
      doc);
}

}  // namespace

void bind_convolutions(nb::module_& m) {
  const auto stream = stream_argument();
  def_conv1d(m, "conv1d", &ops::conv1d,
             "torch's conv1d: y[t] sums weight[j] x[t stride + j dilation - padding].\n\n"
             "x [B, L, C_in], or [B, C_in, L] with channels=\"first\"; weight [C_out, C_in / groups, K]; bias [C_out]; the result is\n"
             "[B, L', C_out] or [B, C_out, L'].\n\n"
             ">>> m2bert.ops.conv1d(mx.ones((1, 4, 1)), mx.ones((1, 1, 3)), padding=1).flatten().tolist()\n"
             "[2.0, 3.0, 3.0, 2.0]");
  def_conv1d(m, "conv1d_fallback", &ops::conv1d_fallback, "conv1d, composed of MLX's operations.");
  def_conv1d(m, "conv1d_fft", &ops::conv1d_fft,
             "conv1d in O(L log L) for any length of the filter.\n\n"
             ">>> m2bert.ops.conv1d_fft(mx.ones((1, 9, 2)), mx.ones((3, 2, 5))).shape\n"
             "(1, 5, 3)");
  def_depthwise(m, "depthwise_conv1d", &ops::depthwise_conv1d,
                "conv1d with n filters for each channel: x [B, L, C], weight [n C, 1, K], bias [n C].\n\n"
                ">>> m2bert.ops.depthwise_conv1d(mx.ones((1, 9, 2)), mx.ones((4, 1, 3))).shape\n"
                "(1, 7, 4)");
  def_depthwise(m, "depthwise_conv1d_fallback", &ops::depthwise_conv1d_fallback, "depthwise_conv1d, composed of MLX's operations.");
  m.def("depthwise_conv1d_causal", &ops::depthwise_conv1d_causal, "u_blc"_a, "weight"_a, "bias"_a = nb::none(), nb::kw_only(), stream,
        "The mixer's short convolution: y[t] = bias + sum_j weight[j] u[t - (K - 1) + j].\n\n"
        "u_blc [B, L, C], weight [C, 1, K], bias [C]; the result is [B, L, C].\n\n"
        ">>> m2bert.ops.depthwise_conv1d_causal(mx.ones((1, 4, 1)), mx.ones((1, 1, 3))).flatten().tolist()\n"
        "[1.0, 2.0, 3.0, 3.0]");
  def_long_conv(
      m, "long_conv", &ops::long_conv,
      "Convolution with a filter as long as the sequence, in O(L log L): gelu(conv(u; k, k_rev) + D u) * dropout_mask.\n\n"
      "u_bld [B, L, d]; k_ld [L, d], weights of the current and earlier positions; k_rev_ld [L, d], those of later positions, or None\n"
      "for a causal convolution; D_d [d]; dropout_mask [B, d]. The result is [B, L, d].\n\n"
      ">>> u, k = mx.array([1.0, 0.0, 0.0]).reshape(1, 3, 1), mx.array([[3.0], [2.0], [1.0]])\n"
      ">>> y = m2bert.ops.long_conv(u, k, None, mx.zeros((1,)))\n"
      ">>> [round(v, 4) for v in y.flatten().tolist()]\n"
      "[3.0, 2.0, 1.0]");
  def_long_conv(m, "long_conv_fallback", &ops::long_conv_fallback, "long_conv, composed of MLX's operations.");
  m.def("long_conv_spectrum", &ops::long_conv_spectrum, "k_ld"_a, "k_rev_ld"_a = nb::none(), nb::kw_only(), stream,
        "The spectrum of a filter [L, d] for long_conv_with_spectrum: complex64 [spectrum_rows(L), d].\n\n"
        ">>> m2bert.ops.long_conv_spectrum(mx.ones((8, 2))).shape\n"
        "(9, 2)");
  m.def("spectrum_rows", &ops::spectrum_rows, "L"_a,
        "The rows of the spectrum of a filter of length L.\n\n"
        ">>> m2bert.ops.spectrum_rows(8)\n"
        "9");
  m.def(
      "long_conv_with_spectrum",
      [](const mx::array& u, const mx::array& spectrum, const mx::array& D, bool gelu, const OptionalArray& dropout_mask, Stream s) {
        return ops::long_conv_with_spectrum(u, spectrum, D, {gelu, dropout_mask}, s);
      },
      "u_bld"_a, "spectrum"_a, "D_d"_a, "gelu"_a = false, "dropout_mask"_a = nb::none(), nb::kw_only(), stream,
      "long_conv with a spectrum that long_conv_spectrum made for the same length.\n\n"
      ">>> spectrum = m2bert.ops.long_conv_spectrum(mx.ones((8, 2)))\n"
      ">>> m2bert.ops.long_conv_with_spectrum(mx.ones((1, 8, 2)), spectrum, mx.zeros((2,))).shape\n"
      "(1, 8, 2)");
  m.def(
      "with_reverse_from_zero",
      [](const mx::array& k, const mx::array& r, Stream s) {
        const auto filter = ops::with_reverse_from_zero(k, r, s);
        return std::pair(filter.k_ld, filter.k_rev_ld);
      },
      "k_ld"_a, "r_ld"_a, nb::kw_only(), stream,
      "(k_ld, k_rev_ld) of a filter whose reverse r_ld [L, d] starts at the position itself, as upstream's fftconv_ref has it.\n\n"
      ">>> k, k_rev = m2bert.ops.with_reverse_from_zero(mx.ones((3, 1)), mx.ones((3, 1)))\n"
      ">>> k.flatten().tolist(), k_rev.flatten().tolist()\n"
      "([2.0, 1.0, 1.0], [1.0, 1.0, 0.0])");
}

}  // namespace m2bert::python
