#include "m2bert/ops/backend/cpu/cpu_backend.h"
#include "m2bert/ops/backend/cpu/float_primitive.h"
#include "m2bert/ops/backend/cpu/simd/layer_norm_simd.h"
#include "m2bert/threads.h"

namespace m2bert::ops {

namespace cpu {
namespace {

// Inputs: x, weight, dy, and the residual if there is one. Outputs: the gradients of x (which is also the residual's), weight, bias.
class AddLayerNormGradient : public FloatPrimitive<AddLayerNormGradient> {
 public:
  AddLayerNormGradient(mx::Stream s, float eps) : FloatPrimitive(s, "layer_norm"), eps_(eps) {}
  const char* name() const override { return "AddLayerNormGradient"; }
  bool is_equivalent(const Primitive& other) const override { return static_cast<const AddLayerNormGradient&>(other).eps_ == eps_; }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    return [x = in[0].data<T>(), w = in[1].data<float>(), dy = in[2].data<T>(), residual = in.size() > 3 ? in[3].data<T>() : nullptr,
            eps = eps_, ds = out[0].data<T>(), dw = out[1].data<float>(), db = out[2].data<float>(), width = int64_t(in[0].shape(-1)),
            rows = int64_t(in[0].size()) / in[0].shape(-1)] {
      layer_norm_gradient<T>(x, residual, w, eps, dy, ds, dw, db, rows, width, threads());
    };
  }

 private:
  float eps_;
};

// Inputs: x, weight, bias, and the residual if there is one.
class AddLayerNorm : public FloatPrimitive<AddLayerNorm> {
 public:
  AddLayerNorm(mx::Stream s, float eps) : FloatPrimitive(s, "layer_norm"), eps_(eps) {}
  const char* name() const override { return "AddLayerNorm"; }
  bool is_equivalent(const Primitive& other) const override { return static_cast<const AddLayerNorm&>(other).eps_ == eps_; }
  std::vector<mx::array> vjp(const std::vector<mx::array>& in, const std::vector<mx::array>& cotangents, const std::vector<int>& argnums,
                             const std::vector<mx::array>&) override {
    std::vector<mx::array> inputs{in[0], in[1], contiguous(cotangents[0], stream())};
    if (in.size() > 3) inputs.push_back(in[3]);
    const auto all = arrays_like({in[0], in[1], in[2]}, std::make_shared<AddLayerNormGradient>(stream(), eps_), inputs);
    return gradients_of(argnums, {all[0], all[1], all[2], all[0]});  // the gradient of the residual is that of x
  }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    return [x = in[0].data<T>(), w = in[1].data<float>(), b = in[2].data<float>(), residual = in.size() > 3 ? in[3].data<T>() : nullptr,
            eps = eps_, y = out[0].data<T>(), width = int64_t(in[0].shape(-1)),
            rows = int64_t(in[0].size()) / in[0].shape(-1)] { layer_norm_rows<T>(x, residual, w, b, eps, y, rows, width, threads()); };
  }

 private:
  float eps_;
};

}  // namespace
}  // namespace cpu

Backend::Array CpuBackend::layer_norm(const mx::array& x, const std::optional<mx::array>& residual, const mx::array& weight,
                                      const mx::array& bias, float eps, mx::Stream s) const {
  if (!cpu::supports_rows(x)) return {};
  std::vector<mx::array> inputs{cpu::contiguous(x, s), cpu::float32_contiguous(weight, s), cpu::float32_contiguous(bias, s)};
  if (residual) inputs.push_back(cpu::contiguous(mx::astype(*residual, x.dtype(), s), s));
  return mx::array(x.shape(), x.dtype(), std::make_shared<cpu::AddLayerNorm>(s, eps), std::move(inputs));
}

}  // namespace m2bert::ops
