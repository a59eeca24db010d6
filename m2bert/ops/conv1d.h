#pragma once
// Short convolutions along the text.
#include <optional>

#include "m2bert/mx.h"

namespace m2bert::ops {

// Causal depthwise convolution: y[b,t,c] = bias[c] + sum_j weight[c,0,j] u[b, t-(K-1)+j, c], positions before the text are 0.
//   u_blc [B, L, C]; weight [C, 1, K] (torch's layout); bias [C]. The same as torch's Conv1d(groups=C, padding=K-1) cut to L.
mx::array depthwise_conv1d_causal(const mx::array& u_blc, const mx::array& weight, const std::optional<mx::array>& bias,
                                  mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
