#include "m2bert/ops/backend/cpu/cpu_backend.h"
#include "m2bert/ops/backend/cpu/float_primitive.h"
#include "m2bert/ops/backend/cpu/named_inputs.h"
#include "m2bert/ops/backend/cpu/simd/feed_forward_host.h"
#include "m2bert/ops/dropout_mask.h"
#include "m2bert/ops/layer_norm.h"
#include "m2bert/threads.h"

namespace m2bert::ops {

namespace cpu {
namespace {

// The biases and the dropout key are optional; only the gradient has hidden (the result of up) and dy.
enum class FeedForwardInput { x, up, down, up_bias, down_bias, key, hidden, dy };

struct FeedForwardOptions {
  Activation activation;
  bool gated;
  float p;
  bool operator==(const FeedForwardOptions&) const = default;
};

FeedForwardSizes sizes_of(const mx::array& x, const mx::array& down, bool gated) {
  const int nb = down.ndim() == 3 ? down.shape(0) : 1, hidden = x.shape(-1);
  return {int64_t(x.size()) / hidden, nb, hidden, nb * down.shape(-1), gated};
}

// The key's words are read when the task runs.
TileDropout dropout_of(float p, const uint32_t* key) {
  if (!key) return {};
  return {{key[0], key[1]}, dropout_threshold(p), 1 / (1 - p), 0, 0};
}

// down(dropout(act(up(x)))), or its gradients.
template <class Derived>
class FeedForwardPrimitive : public FloatPrimitive<Derived> {
 public:
  using In = FeedForwardInput;
  FeedForwardPrimitive(mx::Stream s, const Positions<In>& inputs, const FeedForwardOptions& options)
      : FloatPrimitive<Derived>(s, "feed_forward"), inputs_(inputs), options_(options) {}
  bool is_equivalent(const mx::Primitive& other) const override {
    const auto& o = static_cast<const FeedForwardPrimitive&>(other);
    return o.inputs_ == inputs_ && o.options_ == options_;
  }

 protected:
  template <class T>
  FeedForwardTensors<const T> parts(const std::vector<mx::array>& in) const {
    auto at = [&](In name) { return inputs_.template data<T>(in, name); };
    return {at(In::x), at(In::up), at(In::up_bias), at(In::down), at(In::down_bias)};
  }
  FeedForwardSizes sizes(const std::vector<mx::array>& in) const {
    return sizes_of(in[inputs_.of(In::x)], in[inputs_.of(In::down)], options_.gated);
  }

  Positions<In> inputs_;
  FeedForwardOptions options_;
};

// Outputs: the gradients of x, up, down and the biases, in the order of the inputs.
class FeedForwardGradient : public FeedForwardPrimitive<FeedForwardGradient> {
 public:
  using FeedForwardPrimitive::FeedForwardPrimitive;
  const char* name() const override { return "FeedForwardGradient"; }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    auto gradient = [&](In name) { return inputs_.data<T>(out, name); };
    const FeedForwardTensors<T> to{gradient(In::x), gradient(In::up), gradient(In::up_bias), gradient(In::down), gradient(In::down_bias)};
    return [sizes = sizes(in), options = options_, parts = parts<T>(in), key = inputs_.data<uint32_t>(in, In::key),
            hidden = inputs_.data<T>(in, In::hidden), dy = inputs_.data<T>(in, In::dy),
            to] { feed_forward_backward<T>(sizes, options.activation, dropout_of(options.p, key), parts, hidden, dy, to, threads()); };
  }
};

// Outputs: y, and the result of up, which the gradient needs.
class FeedForward : public FeedForwardPrimitive<FeedForward> {
 public:
  using FeedForwardPrimitive::FeedForwardPrimitive;
  const char* name() const override { return "FeedForward"; }
  std::vector<mx::array> vjp(const std::vector<mx::array>& in, const std::vector<mx::array>& cotangents, const std::vector<int>& argnums,
                             const std::vector<mx::array>& outputs) override {
    NamedInputs<In> inputs{inputs_, in};
    inputs.add(In::hidden, outputs[1]);
    inputs.add(In::dy, contiguous(cotangents[0], stream()));
    const std::vector<mx::array> differentiable(in.begin(), in.end() - (inputs_.has(In::key) ? 1 : 0));  // the key is the last input
    auto gradient = std::make_shared<FeedForwardGradient>(stream(), inputs.positions, options_);
    return gradients_of(argnums, arrays_like(differentiable, std::move(gradient), inputs.arrays));
  }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    return [sizes = sizes(in), options = options_, parts = parts<T>(in), key = inputs_.data<uint32_t>(in, In::key), y = out[0].data<T>(),
            hidden = out[1].data<T>()] {
      feed_forward_forward<T>(sizes, options.activation, dropout_of(options.p, key), parts, y, hidden, threads());
    };
  }
};

// Floating-point weights of x's dtype, with as many blocks in up as in down, whose widths fit the activation's loop.
bool supports_feed_forward(const mx::array& x, const FeedForwardWeights& w, bool bfloat16_gemm) {
  if (x.size() == 0 || !gated_activation_supports(w.activation) || w.up.scale || w.down.scale) return false;
  if (x.dtype() != mx::float32 && !(x.dtype() == mx::bfloat16 && bfloat16_gemm)) return false;
  for (const auto* a : {&w.up.values, &w.down.values}) {
    if (a->dtype() != x.dtype() || (a->ndim() != 2 && a->ndim() != 3)) return false;
  }
  for (const auto* a : {&w.up_bias, &w.down_bias}) {
    if (*a && (*a)->dtype() != x.dtype()) return false;
  }
  auto blocks = [](const mx::array& a) { return a.ndim() == 3 ? a.shape(0) : 1; };
  const auto &up = w.up.values, &down = w.down.values;
  const int nb = blocks(down), hidden = x.shape(-1), intermediate = nb * down.shape(-1);
  return blocks(up) == nb && nb * up.shape(-1) == hidden && nb * down.shape(-2) == hidden &&
         nb * up.shape(-2) == intermediate * (w.gated ? 2 : 1) && down.shape(-1) % 16 == 0;
}

}  // namespace
}  // namespace cpu

Backend::Array CpuBackend::feed_forward(const mx::array& x, const FeedForwardWeights& w, float p, const std::optional<mx::array>& key,
                                        mx::Stream s) const {
  using In = cpu::FeedForwardInput;
  if (!cpu::supports_feed_forward(x, w, supports_bfloat16_gemm())) return {};
  cpu::NamedInputs<In> inputs;
  auto add = [&](In name, const mx::array& a) { inputs.add(name, cpu::contiguous(a, s)); };
  add(In::x, x);
  add(In::up, w.up.values);
  add(In::down, w.down.values);
  if (w.up_bias) add(In::up_bias, *w.up_bias);
  if (w.down_bias) add(In::down_bias, *w.down_bias);
  if (key && p > 0) add(In::key, *key);
  const auto sizes = cpu::sizes_of(x, w.down.values, w.gated);
  const mx::Shape hidden{sizes.nb, int(sizes.rows), sizes.up_q()};
  auto primitive = std::make_shared<cpu::FeedForward>(s, inputs.positions, cpu::FeedForwardOptions{w.activation, w.gated, p});
  const auto y = mx::array::make_arrays({x.shape(), hidden}, {x.dtype(), x.dtype()}, std::move(primitive), inputs.arrays)[0];
  return ops::layer_norm(y, x, w.norm_weight, w.norm_bias, w.eps, s);
}

}  // namespace m2bert::ops
