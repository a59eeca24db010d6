#include "m2bert/ops/feed_forward.h"

#include "m2bert/error.h"
#include "m2bert/ops/activation.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/dropout.h"
#include "m2bert/ops/layer_norm.h"

namespace m2bert::ops {

mx::array feed_forward_fallback(const mx::array& x, const FeedForwardWeights& w, float p, const std::optional<mx::array>& key,
                                mx::StreamOrDevice s) {
  auto h = weight_matmul(x, w.up, w.up_bias, s);
  if (w.gated && w.activation == Activation::gelu) {
    h = gelu_gate(h, s);
  } else if (w.gated) {
    require(h.shape(-1) % 2 == 0, "[feed_forward] up has ", h.shape(-1), " outputs; with a gate it wants an even number");
    auto parts = mx::split(h, 2, -1, s);
    h = mx::multiply(activate(w.activation, parts[0], s), parts[1], s);
  } else {
    h = activate(w.activation, h, s);
  }
  if (key) h = dropout(h, p, *key, s);
  return layer_norm(weight_matmul(h, w.down, w.down_bias, s), x, w.norm_weight, w.norm_bias, w.eps, s);
}

mx::array feed_forward(const mx::array& x, const FeedForwardWeights& w, float p, const std::optional<mx::array>& key,
                       mx::StreamOrDevice s) {
  require(p >= 0 && p < 1, "[feed_forward] p is ", p, ", wants 0 <= p < 1");
  if (auto y = backend_for(s).feed_forward(x, w, p, key, mx::to_stream(s))) return *y;
  return feed_forward_fallback(x, w, p, key, s);
}

std::unique_ptr<PackedFeedForward> pack_feed_forward(const FeedForwardWeights& weights, mx::StreamOrDevice s) {
  return backend_for(s).pack_feed_forward(weights, mx::to_stream(s));
}

}  // namespace m2bert::ops
