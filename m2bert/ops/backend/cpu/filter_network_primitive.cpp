#include "m2bert/ops/backend/cpu/cpu_backend.h"
#include "m2bert/ops/backend/cpu/float_primitive.h"
#include "m2bert/ops/backend/cpu/simd/filter_network_simd.h"
#include "m2bert/threads.h"

namespace m2bert::ops {

namespace cpu {
namespace {

SineLayer sine_layer(const std::vector<mx::array>& in) {
  return {in[0].data<float>(), in[1].data<float>(), in[2].data<float>(), in[3].data<float>(),
          in[0].shape(0),      in[0].shape(1),      in[1].shape(0)};
}

// Inputs: x, weight, bias, freq, dy. Outputs: the gradients of the first four.
class SineLinearGradient : public FloatPrimitive<SineLinearGradient> {
 public:
  explicit SineLinearGradient(mx::Stream s) : FloatPrimitive(s, "sine_linear") {}
  const char* name() const override { return "SineLinearGradient"; }
  bool is_equivalent(const Primitive&) const override { return true; }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    return [layer = sine_layer(in), dy = in[4].data<float>(),
            to = SineGradients{out[0].data<float>(), out[1].data<float>(), out[2].data<float>(), out[3].data<float>()}] {
      sine_linear_backward(layer, dy, to, threads());
    };
  }
};

// Inputs: x, weight, bias, freq.
class SineLinear : public FloatPrimitive<SineLinear> {
 public:
  static constexpr bool kInPlace = true;
  explicit SineLinear(mx::Stream s) : FloatPrimitive(s, "sine_linear") {}
  const char* name() const override { return "SineLinear"; }
  bool is_equivalent(const Primitive&) const override { return true; }
  std::vector<mx::array> vjp(const std::vector<mx::array>& in, const std::vector<mx::array>& cotangents, const std::vector<int>& argnums,
                             const std::vector<mx::array>&) override {
    auto inputs = in;
    inputs.push_back(contiguous(cotangents[0], stream()));
    return gradients_of(argnums, arrays_like(in, std::make_shared<SineLinearGradient>(stream()), inputs));
  }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    return [layer = sine_layer(in), y = out[0].data<float>()] { sine_linear_forward(layer, y, threads()); };
  }
};

mx::array exponential_decay(const mx::array& x, const mx::array& times, const mx::array& deltas, mx::Stream s);

// Inputs: x, times, deltas. The gradient of x is the same operation on dy. Those of times and deltas, which are constants in most models,
// come from the fallback.
class ExponentialDecay : public FloatPrimitive<ExponentialDecay> {
 public:
  explicit ExponentialDecay(mx::Stream s) : FloatPrimitive(s, "exponential_decay") {}
  const char* name() const override { return "ExponentialDecay"; }
  bool is_equivalent(const Primitive&) const override { return true; }
  std::vector<mx::array> vjp(const std::vector<mx::array>& in, const std::vector<mx::array>& cotangents, const std::vector<int>& argnums,
                             const std::vector<mx::array>&) override {
    if (argnums == std::vector<int>{0}) return {exponential_decay(cotangents[0], in[1], in[2], stream())};
    auto composed = [s = stream()](const std::vector<mx::array>& x) {
      return std::vector<mx::array>{exponential_decay_fallback(x[0], x[1], x[2], s)};
    };
    return gradients_of(argnums, mx::vjp(composed, in, cotangents).second);
  }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    return [x = in[0].data<float>(), times = in[1].data<float>(), deltas = in[2].data<float>(), y = out[0].data<float>(),
            rows = in[0].shape(0), columns = in[0].shape(1)] { exponential_decay_rows(x, times, deltas, rows, columns, y, threads()); };
  }
};

mx::array exponential_decay(const mx::array& x, const mx::array& times, const mx::array& deltas, mx::Stream s) {
  return mx::array(x.shape(), mx::float32, std::make_shared<ExponentialDecay>(s),
                   {float32_contiguous(x, s), float32_contiguous(times, s), float32_contiguous(deltas, s)});
}

}  // namespace
}  // namespace cpu

Backend::Array CpuBackend::sine_linear(const mx::array& x, const mx::array& weight, const mx::array& bias, const mx::array& freq,
                                       mx::Stream s) const {
  if (x.size() == 0) return {};
  auto floats = [s](const mx::array& a) { return cpu::float32_contiguous(a, s); };
  return mx::array({x.shape(0), weight.shape(0)}, mx::float32, std::make_shared<cpu::SineLinear>(s),
                   {floats(x), floats(weight), floats(bias), floats(freq)});
}

Backend::Array CpuBackend::exponential_decay(const mx::array& x, const mx::array& times, const mx::array& deltas, mx::Stream s) const {
  if (x.size() == 0) return {};
  return cpu::exponential_decay(x, times, deltas, s);
}

}  // namespace m2bert::ops
