#include "m2bert/ops/feed_forward.h"

#include "m2bert/error.h"
#include "m2bert/ops/activation.h"
#include "m2bert/ops/dropout.h"
#include "m2bert/ops/backend/cpu/feed_forward_primitive.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/layer_norm.h"

namespace m2bert::ops {

namespace {

mx::array activate(Activation activation, const mx::array& x, mx::StreamOrDevice s) {
  switch (activation) {
    case Activation::gelu: return gelu(x, s);
    case Activation::gelu_tanh: return gelu_tanh(x, s);
    case Activation::relu: return mx::maximum(x, mx::array(0, x.dtype()), s);
    case Activation::silu: return mx::multiply(x, mx::sigmoid(x, s), s);
  }
  fail("[feed_forward] unknown activation");
}

}  // namespace

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
  if (!cpu::feed_forward_products_take(x, w, s)) return feed_forward_fallback(x, w, p, key, s);
  require(p >= 0 && p < 1, "[feed_forward] p is ", p, ", wants 0 <= p < 1");
  auto y = cpu::feed_forward_products(x, w, p, key, cpu::stream_of(s));
  return layer_norm(y, x, w.norm_weight, w.norm_bias, w.eps, s);
}

PackedFeedForward pack_feed_forward(const FeedForwardWeights& weights, mx::StreamOrDevice s) {
  return cpu::cpu_kernels(s) ? cpu::pack_feed_forward(weights, cpu::stream_of(s)) : nullptr;
}

mx::array feed_forward(const mx::array& x, const PackedFeedForward& prepared, mx::StreamOrDevice s) {
  return cpu::feed_forward(x, prepared, cpu::stream_of(s));
}

}  // namespace m2bert::ops
