#pragma once
// Which channel mixers have kernels.
#include "m2bert/ops/backend/cuda/channel_major.h"
#include "m2bert/ops/backend/cuda/channel_mixer.h"
#include "m2bert/ops/feed_forward.h"

namespace m2bert::ops::cuda {

// Gated GELU without a bias before it, in bfloat16, for inputs of H channels.
inline bool supports_feed_forward(const FeedForwardWeights& w, int H) {
  if (!w.gated || w.activation != Activation::gelu || w.up_bias || !is_bfloat16(w.up) || !is_bfloat16(w.down)) return false;
  auto inputs = [](const mx::array& a) { return a.ndim() == 3 ? a.shape(0) * a.shape(2) : a.shape(1); };
  auto outputs = [](const mx::array& a) { return a.ndim() == 3 ? a.shape(0) * a.shape(1) : a.shape(0); };
  const int I = inputs(w.down.values);
  return inputs(w.up.values) == H && outputs(w.up.values) == 2 * I && outputs(w.down.values) == H && int(w.norm_weight.size()) == H &&
         supports_channel_norm(H);
}

}  // namespace m2bert::ops::cuda
