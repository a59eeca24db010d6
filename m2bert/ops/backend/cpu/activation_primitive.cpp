#include "m2bert/ops/backend/cpu/cpu_backend.h"
#include "m2bert/ops/backend/cpu/float_primitive.h"
#include "m2bert/ops/backend/cpu/simd/activation_simd.h"
#include "m2bert/threads.h"

namespace m2bert::ops {

namespace cpu {
namespace {

// Inputs: x; the gradient's: x and dy.
class Gelu : public FloatPrimitive<Gelu> {
 public:
  Gelu(mx::Stream s, bool gated, GeluApproximation curve, bool gradient = false)
      : FloatPrimitive(s, gated                              ? "gelu_gate"
                          : curve == GeluApproximation::none ? "gelu"
                                                             : "gelu_tanh"),
        gated_(gated),
        gradient_(gradient),
        curve_(curve) {}
  const char* name() const override { return gated_ ? "GeluGate" : "Gelu"; }
  bool is_equivalent(const Primitive& other) const override {
    const auto& o = static_cast<const Gelu&>(other);
    return o.gated_ == gated_ && o.gradient_ == gradient_ && o.curve_ == curve_;
  }
  std::vector<mx::array> vjp(const std::vector<mx::array>& in, const std::vector<mx::array>& cotangents, const std::vector<int>& argnums,
                             const std::vector<mx::array>& outputs) override {
    if (gradient_) return FloatPrimitive::vjp(in, cotangents, argnums, outputs);
    return {mx::array(in[0].shape(), in[0].dtype(), std::make_shared<Gelu>(stream(), gated_, curve_, true),
                      {in[0], contiguous(cotangents[0], stream())})};
  }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    const auto& rows_of = gradient_ ? in[1] : out[0];  // [rows, width] of a gate
    return [x = in[0].data<T>(), dy = gradient_ ? in[1].data<T>() : nullptr, y = out[0].data<T>(), size = int64_t(rows_of.size()),
            width = int64_t(rows_of.shape(-1)), gated = gated_, curve = curve_] {
      if (gated) {
        dy ? gelu_gate_gradient(x, dy, y, size / width, width, threads()) : gelu_gate_rows(x, y, size / width, width, threads());
      } else {
        dy ? gelu_gradient(x, dy, y, size, curve, threads()) : gelu_values(x, y, size, curve, threads());
      }
    };
  }

 private:
  bool gated_, gradient_;
  GeluApproximation curve_;
};

mx::array gelu(const mx::array& x, GeluApproximation curve, mx::Stream s) {
  return mx::array(x.shape(), x.dtype(), std::make_shared<Gelu>(s, false, curve), {contiguous(x, s)});
}

}  // namespace
}  // namespace cpu

Backend::Array CpuBackend::gelu(const mx::array& x, mx::Stream s) const {
  if (!cpu::supports_rows(x)) return {};
  return cpu::gelu(x, cpu::GeluApproximation::none, s);
}

Backend::Array CpuBackend::gelu_tanh(const mx::array& x, mx::Stream s) const {
  if (!cpu::supports_rows(x)) return {};
  return cpu::gelu(x, cpu::GeluApproximation::tanh, s);
}

Backend::Array CpuBackend::gelu_gate(const mx::array& x, mx::Stream s) const {
  if (!cpu::supports_rows(x)) return {};
  auto shape = x.shape();
  shape.back() /= 2;
  return mx::array(shape, x.dtype(), std::make_shared<cpu::Gelu>(s, true, cpu::GeluApproximation::none), {cpu::contiguous(x, s)});
}

}  // namespace m2bert::ops
