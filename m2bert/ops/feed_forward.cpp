#include "m2bert/ops/feed_forward.h"

#include "m2bert/error.h"
#include "m2bert/ops/activation.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/dropout.h"
#include "m2bert/ops/layer_norm.h"
#include "m2bert/ops/linear.h"
#include "m2bert/ops/monarch.h"

namespace m2bert::ops {

namespace {

// The vectors that go with the matrices; kernels read them by the matrices' sizes.
void check(const FeedForwardWeights& w) {
  auto outputs = [](const char* name, const mx::array& a) {
    require(a.ndim() == 2 || a.ndim() == 3, "[feed_forward] ", name, " has shape ", a.shape(),
            ", wants [out, in] or [nb, out / nb, in / nb]");
    return a.ndim() == 3 ? size_t(a.shape(0)) * size_t(a.shape(1)) : size_t(a.shape(0));
  };
  auto wants = [](const char* name, const std::optional<mx::array>& a, size_t size) {
    require(!a || a->size() == size, "[feed_forward] ", name, " has ", a ? a->size() : 0, " values, wants ", size);
  };
  const size_t up = outputs("up", w.up.values), down = outputs("down", w.down.values);
  wants("up_bias", w.up_bias, up);
  wants("the scale of up", w.up.scale, up);
  wants("down_bias", w.down_bias, down);
  wants("the scale of down", w.down.scale, down);
  wants("norm_weight", w.norm_weight, down);
  wants("norm_bias", w.norm_bias, down);
}

// Composed of operations, which may have kernels, or of their fallbacks. int8 weights have one form.
mx::array compose(bool fallbacks, const mx::array& x, const FeedForwardWeights& w, float p, const std::optional<mx::array>& key,
                  mx::StreamOrDevice s) {
  auto matmul = [&](const mx::array& x, const Weight& weight, const std::optional<mx::array>& bias) {
    if (!fallbacks || weight.scale) return weight_matmul(x, weight, bias, s);
    return weight.values.ndim() == 3 ? blockdiag_multiply_fallback(x, weight.values, bias, s) : linear_fallback(x, weight.values, bias, s);
  };
  auto activated = [&](const mx::array& x) {
    if (fallbacks && w.activation == Activation::gelu) return gelu_fallback(x, s);
    if (fallbacks && w.activation == Activation::gelu_tanh) return gelu_tanh_fallback(x, s);
    return activate(w.activation, x, s);
  };
  auto h = matmul(x, w.up, w.up_bias);
  if (w.gated && w.activation == Activation::gelu) {
    h = fallbacks ? gelu_gate_fallback(h, s) : gelu_gate(h, s);
  } else if (w.gated) {
    require(h.shape(-1) % 2 == 0, "[feed_forward] up has ", h.shape(-1), " outputs; with a gate it wants an even number");
    auto parts = mx::split(h, 2, -1, s);
    h = mx::multiply(activated(parts[0]), parts[1], s);
  } else {
    h = activated(h);
  }
  if (key) h = (fallbacks ? dropout_fallback : dropout)(h, p, *key, s);
  const auto y = matmul(h, w.down, w.down_bias);
  return (fallbacks ? layer_norm_fallback : layer_norm)(y, x, w.norm_weight, w.norm_bias, w.eps, s);
}

}  // namespace

mx::array feed_forward_fallback(const mx::array& x, const FeedForwardWeights& w, float p, const std::optional<mx::array>& key,
                                mx::StreamOrDevice s) {
  check(w);
  return compose(true, x, w, p, key, s);
}

mx::array feed_forward(const mx::array& x, const FeedForwardWeights& w, float p, const std::optional<mx::array>& key,
                       mx::StreamOrDevice s) {
  check(w);
  require(p >= 0 && p < 1, "[feed_forward] p is ", p, ", wants 0 <= p < 1");
  if (auto y = backend_for(s).feed_forward(x, w, p, key, mx::to_stream(s))) return *y;
  return compose(false, x, w, p, key, s);
}

std::unique_ptr<PackedFeedForward> pack_feed_forward(const FeedForwardWeights& weights, mx::StreamOrDevice s) {
  check(weights);
  return backend_for(s).pack_feed_forward(weights, mx::to_stream(s));
}

}  // namespace m2bert::ops
