#include "m2bert/ops/conv1d.h"

#include <cstdint>

#include "m2bert/error.h"
#include "m2bert/ops/dtype.h"
#include "m2bert/ops/real_fft.h"

namespace m2bert::ops {

namespace {

// Sizes of a convolution, checked. C_in and C_out count channels, I and O those of one group.
struct Sizes {
  int B, L, C_in, C_out, K, groups, I, O;
  int L_padded, L_out, reach;  // reach: positions from the filter's first tap to its last, inclusive
};

Sizes check(const char* op, const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias, const Conv1dOptions& o) {
  const bool last = o.channels == ChannelAxis::last;
  require(x.ndim() == 3, "[", op, "] x has shape ", x.shape(), ", wants ", last ? "[B, L, C_in]" : "[B, C_in, L]");
  require(weight.ndim() == 3, "[", op, "] weight has shape ", weight.shape(), ", wants [C_out, C_in / groups, K]");
  require(o.stride >= 1 && o.padding >= 0 && o.dilation >= 1 && o.groups >= 1, "[", op, "] stride ", o.stride, ", padding ", o.padding,
          ", dilation ", o.dilation, ", groups ", o.groups, ": wants at least 1 each, 0 for the padding");
  require_float(op, "x", x);
  require_float(op, "weight", weight);
  Sizes n{};
  n.B = x.shape(0), n.L = x.shape(last ? 1 : 2), n.C_in = x.shape(last ? 2 : 1);
  n.C_out = weight.shape(0), n.I = weight.shape(1), n.K = weight.shape(2), n.groups = o.groups, n.O = n.C_out / o.groups;
  require(n.C_out >= 1 && n.I >= 1 && n.K >= 1 && n.C_out % o.groups == 0 && n.C_in % o.groups == 0 && n.C_in / o.groups == n.I, "[", op,
          "] weight has shape ", weight.shape(), ", wants [C_out, C_in / groups, K] for ", n.C_in, " channels in ", o.groups, " groups");
  if (bias) {
    require(bias->shape() == mx::Shape{n.C_out}, "[", op, "] bias has shape ", bias->shape(), ", wants [", n.C_out, "]");
    require_float(op, "bias", *bias);
  }
  const int64_t padded = int64_t(n.L) + 2 * int64_t(o.padding), reach = int64_t(o.dilation) * (n.K - 1) + 1;
  require(reach <= padded && padded <= INT32_MAX / 4, "[", op, "] the filter reaches over ", reach, " positions, the padded sequence has ",
          padded);
  n.L_padded = int(padded), n.reach = int(reach), n.L_out = int((padded - reach) / o.stride) + 1;
  return n;
}

// x as [B, L, C] float32, padded.
mx::array padded_positions(const mx::array& x, const Conv1dOptions& o, mx::StreamOrDevice s) {
  auto x32 = mx::astype(o.channels == ChannelAxis::first ? mx::swapaxes(x, 1, 2, s) : x, mx::float32, s);
  if (o.padding == 0) return x32;
  return mx::pad(x32, std::vector<int>{1}, mx::Shape{o.padding}, mx::Shape{o.padding}, mx::array(0.0f), "constant", s);
}

// The padded positions that tap j reads: [B, L_out, C].
mx::array seen_by(int j, const mx::array& padded, const Sizes& n, const Conv1dOptions& o, mx::StreamOrDevice s) {
  const int first = j * o.dilation;
  return mx::slice(padded, {0, first, 0}, {n.B, first + (n.L_out - 1) * o.stride + 1, n.C_in}, {1, o.stride, 1}, s);
}

// The result [B, L_out, C_out] in x's layout and dtype.
mx::array finish(mx::array y, const mx::array& x, const std::optional<mx::array>& bias, const Conv1dOptions& o, mx::StreamOrDevice s) {
  if (bias) y = mx::add(y, mx::astype(*bias, mx::float32, s), s);
  if (o.channels == ChannelAxis::first) y = mx::swapaxes(y, 1, 2, s);
  return mx::astype(y, x.dtype(), s);
}

mx::array sum(const std::vector<mx::array>& terms, mx::StreamOrDevice s) {
  auto total = terms.front();
  for (size_t i = 1; i < terms.size(); ++i) total = mx::add(total, terms[i], s);
  return total;
}

// Groups of one channel: elementwise multiplication, since there is nothing for a matmul to sum.
mx::array by_channel(const mx::array& padded, const mx::array& weight, const Sizes& n, const Conv1dOptions& o, mx::StreamOrDevice s) {
  auto taps = mx::reshape(mx::astype(weight, mx::float32, s), {n.groups, n.O, n.K}, s);
  std::vector<mx::array> terms;
  for (int j = 0; j < n.K; ++j) {
    auto tap = mx::squeeze(mx::slice(taps, {0, 0, j}, {n.groups, n.O, j + 1}, s), 2, s);
    terms.push_back(mx::multiply(mx::expand_dims(seen_by(j, padded, n, o, s), 3, s), tap, s));
  }
  return mx::reshape(sum(terms, s), {n.B, n.L_out, n.C_out}, s);
}

// [B, L_out, groups * m] -> [groups, B * L_out, m]
mx::array groups_first(const mx::array& x, const Sizes& n, int m, mx::StreamOrDevice s) {
  return mx::transpose(mx::reshape(x, {n.B * n.L_out, n.groups, m}, s), {1, 0, 2}, s);
}

mx::array groups_last(const mx::array& y, const Sizes& n, mx::StreamOrDevice s) {
  return mx::reshape(mx::transpose(y, {1, 0, 2}, s), {n.B, n.L_out, n.C_out}, s);
}

// All taps side by side, then one matmul per group.
mx::array by_group(const mx::array& padded, const mx::array& weight, const Sizes& n, const Conv1dOptions& o, mx::StreamOrDevice s) {
  std::vector<mx::array> seen;
  seen.reserve(size_t(n.K));
  for (int j = 0; j < n.K; ++j) seen.push_back(groups_first(seen_by(j, padded, n, o, s), n, n.I, s));
  auto taps = mx::reshape(mx::astype(weight, mx::float32, s), {n.groups, n.O, n.I, n.K}, s);
  auto matrix = mx::reshape(mx::transpose(taps, {0, 3, 2, 1}, s), {n.groups, n.K * n.I, n.O}, s);
  return groups_last(mx::matmul(mx::concatenate(seen, 2, s), matrix, s), n, s);
}

// The filter's values `dilation` apart, with zeros between: [..., K] -> [..., reach].
mx::array dilated(const mx::array& weight, const Sizes& n, int dilation, mx::StreamOrDevice s) {
  if (dilation == 1) return weight;
  auto apart =
      mx::pad(mx::expand_dims(weight, 3, s), std::vector<int>{3}, mx::Shape{0}, mx::Shape{dilation - 1}, mx::array(0.0f), "constant", s);
  return mx::slice(mx::reshape(apart, {n.C_out, n.I, n.K * dilation}, s), {0, 0, 0}, {n.C_out, n.I, n.reach}, s);
}

// The product of transforms, x [B, F, C_in] and conj(w) [C_out, I, F]: [B, F, C_out]. Sums over the channels of a group.
mx::array multiply_spectra(const mx::array& x, const mx::array& w, const Sizes& n, mx::StreamOrDevice s) {
  const int F = x.shape(1);
  auto conj = mx::reshape(mx::conjugate(w, s), {n.groups, n.O, n.I, F}, s);
  if (n.I == 1) {
    auto taps = mx::transpose(mx::squeeze(conj, 2, s), {2, 0, 1}, s);  // [F, groups, O]
    return mx::reshape(mx::multiply(mx::expand_dims(x, 3, s), taps, s), {n.B, F, n.C_out}, s);
  }
  // A complex matmul as a real one: (re, im) times [[re, im], [-im, re]].
  auto channels = mx::transpose(mx::reshape(x, {n.B, F, n.groups, n.I}, s), {1, 2, 0, 3}, s);  // [F, groups, B, I]
  auto filters = mx::transpose(conj, {3, 0, 2, 1}, s);                                         // [F, groups, I, O]
  auto re = mx::real(filters, s), im = mx::imag(filters, s);
  auto rows = mx::concatenate({mx::real(channels, s), mx::imag(channels, s)}, 3, s);
  auto matrix = mx::concatenate({mx::concatenate({re, im}, 3, s), mx::concatenate({mx::negative(im, s), re}, 3, s)}, 2, s);
  auto parts = mx::split(mx::matmul(rows, matrix, s), 2, 3, s);
  auto y = mx::add(parts[0], mx::multiply(mx::array(mx::complex64_t{0, 1}), parts[1], s), s);  // [F, groups, B, O]
  return mx::reshape(mx::transpose(y, {2, 0, 1, 3}, s), {n.B, F, n.C_out}, s);
}

mx::array convolve(const char* op, const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias,
                   const Conv1dOptions& o, mx::StreamOrDevice s) {
  const auto n = check(op, x, weight, bias, o);
  auto padded = padded_positions(x, o, s);
  return finish(n.I == 1 ? by_channel(padded, weight, n, o, s) : by_group(padded, weight, n, o, s), x, bias, o, s);
}

mx::array convolve_fallback(const char* op, const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias,
                            const Conv1dOptions& o, mx::StreamOrDevice s) {
  const auto n = check(op, x, weight, bias, o);
  auto padded = padded_positions(x, o, s);
  auto taps = mx::reshape(mx::astype(weight, mx::float32, s), {n.groups, n.O, n.I, n.K}, s);
  std::vector<mx::array> terms;
  for (int j = 0; j < n.K; ++j) {
    auto tap = mx::squeeze(mx::slice(taps, {0, 0, 0, j}, {n.groups, n.O, n.I, j + 1}, s), 3, s);
    terms.push_back(mx::matmul(groups_first(seen_by(j, padded, n, o, s), n, n.I, s), mx::swapaxes(tap, 1, 2, s), s));
  }
  return finish(groups_last(sum(terms, s), n, s), x, bias, o, s);
}

Conv1dOptions depthwise(const char* op, const mx::array& x, Conv1dOptions o) {
  require(x.ndim() == 3, "[", op, "] x has shape ", x.shape(), ", wants three axes");
  o.groups = x.shape(o.channels == ChannelAxis::last ? 2 : 1);
  return o;
}

}  // namespace

mx::array conv1d(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias, const Conv1dOptions& o,
                 mx::StreamOrDevice s) {
  return convolve("conv1d", x, weight, bias, o, s);
}

mx::array conv1d_fallback(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias, const Conv1dOptions& o,
                          mx::StreamOrDevice s) {
  return convolve_fallback("conv1d", x, weight, bias, o, s);
}

mx::array conv1d_fft(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias, const Conv1dOptions& o,
                     mx::StreamOrDevice s) {
  const auto n = check("conv1d_fft", x, weight, bias, o);
  if (x.size() == 0) return convolve("conv1d_fft", x, weight, bias, o, s);  // an empty FFT is an error on GPUs
  // The circular correlation wraps around only after position L_padded - reach, which is cut off.
  const int size = real_fft_size(n.L_padded);
  auto w = real_fft(dilated(mx::astype(weight, mx::float32, s), n, o.dilation, s), size, 2, s);
  auto z = multiply_spectra(real_fft(padded_positions(x, o, s), size, 1, s), w, n, s);
  const int stop = (n.L_out - 1) * o.stride + 1;
  auto y = mx::slice(inverse_real_fft(z, size, 1, s), {0, 0, 0}, {n.B, stop, n.C_out}, {1, o.stride, 1}, s);
  return finish(y, x, bias, o, s);
}

mx::array depthwise_conv1d(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias, const Conv1dOptions& o,
                           mx::StreamOrDevice s) {
  return convolve("depthwise_conv1d", x, weight, bias, depthwise("depthwise_conv1d", x, o), s);
}

mx::array depthwise_conv1d_fallback(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias,
                                    const Conv1dOptions& o, mx::StreamOrDevice s) {
  return convolve_fallback("depthwise_conv1d", x, weight, bias, depthwise("depthwise_conv1d", x, o), s);
}

mx::array depthwise_conv1d_causal(const mx::array& u_blc, const mx::array& weight, const std::optional<mx::array>& bias,
                                  mx::StreamOrDevice s) {
  require(u_blc.ndim() == 3, "[depthwise_conv1d_causal] u has shape ", u_blc.shape(), ", wants [B, L, C]");
  const int C = u_blc.shape(2);
  require(weight.ndim() == 3 && weight.shape(0) == C && weight.shape(1) == 1 && weight.shape(2) >= 1,
          "[depthwise_conv1d_causal] weight has shape ", weight.shape(), ", wants [", C, ", 1, K]");
  require(!bias || bias->size() == size_t(C), "[depthwise_conv1d_causal] bias does not have ", C, " values");
  require_float("depthwise_conv1d_causal", "u", u_blc);
  require_float("depthwise_conv1d_causal", "weight", weight);
  const int K = weight.shape(2);
  const auto dtype = mx::promote_types(u_blc.dtype(), bias ? mx::promote_types(weight.dtype(), bias->dtype()) : weight.dtype());
  if (u_blc.size() == 0) return mx::zeros(u_blc.shape(), dtype, s);
  const auto u = mx::astype(u_blc, mx::float32, s);
  const auto padded = mx::pad(u, std::vector<int>{1}, mx::Shape{K - 1}, mx::Shape{0}, mx::array(0.0f), "constant", s);
  const auto b = bias ? std::optional(mx::reshape(mx::astype(*bias, mx::float32, s), {C}, s)) : bias;
  return mx::astype(depthwise_conv1d(padded, weight, b, {}, s), dtype, s);
}

}  // namespace m2bert::ops
