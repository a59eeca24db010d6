#pragma once
// Convolutions along the sequence, in torch's sense: y[t] sums w[j] x[t + j]; the filter is not reversed.
#include <optional>

#include "m2bert/mx.h"

namespace m2bert::ops {

enum class ChannelAxis { last, first };  // [B, L, C] (NLC), [B, C, L] (NCL, torch's)

struct Conv1dOptions {
  int stride = 1;    // step between the positions of the result
  int padding = 0;   // zeros before the first and after the last position
  int dilation = 1;  // between the taps of the filter
  int groups = 1;    // number of channel groups, which do not mix
  ChannelAxis channels = ChannelAxis::last;
};

// y[b,t,o] = bias[o] + sum_{c,j} weight[o,c,j] x[b, t stride + j dilation - padding, g C_in/groups + c], g the group of o; x is 0 outside.
//   x [B, L, C_in], or [B, C_in, L] with ChannelAxis::first; weight [C_out, C_in / groups, K]; bias [C_out].
//   The result is [B, L', C_out] (or [B, C_out, L']), L' = floor((L + 2 padding - dilation (K - 1) - 1) / stride) + 1.
// The same as torch's conv1d. float32, float16 or bfloat16; the result has x's dtype, the arithmetic is float32. Gradients for x, weight
// and bias. Throws Error if shapes, dtypes or options are invalid, or if L' would be less than 1. conv1d gathers the taps for one matmul
// per group; conv1d_fallback adds up one matmul per tap.
mx::array conv1d(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias = std::nullopt,
                 const Conv1dOptions& options = {}, mx::StreamOrDevice s = {});
mx::array conv1d_fallback(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias = std::nullopt,
                          const Conv1dOptions& options = {}, mx::StreamOrDevice s = {});

// The same by FFT, for long filters: O(L log L) for any K. Supports every option; a stride saves no time.
mx::array conv1d_fft(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias = std::nullopt,
                     const Conv1dOptions& options = {}, mx::StreamOrDevice s = {});

// conv1d with separate filters per channel, weight [m C_in, 1, K], m >= 1: groups = C_in; options.groups is ignored.
mx::array depthwise_conv1d(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias = std::nullopt,
                           const Conv1dOptions& options = {}, mx::StreamOrDevice s = {});
mx::array depthwise_conv1d_fallback(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias = std::nullopt,
                                    const Conv1dOptions& options = {}, mx::StreamOrDevice s = {});

// Causal depthwise convolution, the mixer's: y[b,t,c] = bias[c] + sum_j weight[c,0,j] u[b, t-(K-1)+j, c], positions before the start are 0.
//   u_blc [B, L, C]; weight [C, 1, K] (torch's layout); bias [C]. The same as torch's Conv1d(groups=C, padding=K-1) truncated to L.
// The arithmetic is in float32, the result in the dtype that the arguments promote to. Gradients for every input. Throws Error on wrong
// shapes or dtypes.
mx::array depthwise_conv1d_causal(const mx::array& u_blc, const mx::array& weight, const std::optional<mx::array>& bias,
                                  mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
