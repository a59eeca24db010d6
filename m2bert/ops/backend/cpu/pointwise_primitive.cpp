#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/backend/cpu/pointwise_primitive.h"

#ifdef M2BERT_CPU_KERNELS
#include "m2bert/ops/backend/cpu/float_primitive.h"
#include "m2bert/ops/backend/cpu/simd/activation_simd.h"
#include "m2bert/ops/backend/cpu/simd/cast_simd.h"
#include "m2bert/ops/backend/cpu/simd/column_sum_simd.h"
#include "m2bert/ops/backend/cpu/simd/layer_norm_simd.h"
#include "m2bert/threads.h"

namespace m2bert::ops::cpu {

namespace {

// Inputs: x. As a gradient: x and dy.
class Gelu : public FloatKernel<Gelu> {
 public:
  Gelu(mx::Stream s, bool gated, GeluApproximation curve, bool gradient = false)
      : FloatKernel(s, gated                     ? "gelu_gate"
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
    if (gradient_) return FloatKernel::vjp(in, cotangents, argnums, outputs);
    return {mx::array(in[0].shape(), in[0].dtype(), std::make_shared<Gelu>(stream(), gated_, curve_, true),
                      {in[0], mx::contiguous(cotangents[0], false, stream())})};
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

// Input: x. The output is bfloat16 where x is float32, and float32 where x is bfloat16.
class Cast : public FloatKernel<Cast> {
 public:
  explicit Cast(mx::Stream s) : FloatKernel(s, "cast") {}
  const char* name() const override { return "Cast"; }
  bool is_equivalent(const Primitive&) const override { return true; }
  std::vector<mx::array> vjp(const std::vector<mx::array>& in, const std::vector<mx::array>& cotangents, const std::vector<int>&,
                             const std::vector<mx::array>&) override {
    return {cast(cotangents[0], in[0].dtype(), stream())};
  }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    using To = std::conditional_t<std::is_same_v<T, float>, uint16_t, float>;
    return [x = in[0].data<T>(), n = int64_t(in[0].size()), y = out[0].data<To>()] { cast_values(x, n, y, threads()); };
  }
};

// Input: x [rows, n].
class ColumnSum : public FloatKernel<ColumnSum> {
 public:
  explicit ColumnSum(mx::Stream s) : FloatKernel(s, "column_sum") {}
  const char* name() const override { return "ColumnSum"; }
  bool is_equivalent(const Primitive&) const override { return true; }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    return [x = in[0].data<T>(), y = out[0].data<T>(), rows = int64_t(in[0].shape(0)), width = int64_t(in[0].shape(1))] {
      column_sums(x, rows, width, y, threads());
    };
  }
};

// Inputs: those of AddLayerNorm without the bias, dy before the residual. Outputs: the gradients of x (and residual), weight, bias.
class AddLayerNormGradient : public FloatKernel<AddLayerNormGradient> {
 public:
  AddLayerNormGradient(mx::Stream s, float eps) : FloatKernel(s, "layer_norm"), eps_(eps) {}
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

// x, weight, bias, and the residual where there is one.
class AddLayerNorm : public FloatKernel<AddLayerNorm> {
 public:
  AddLayerNorm(mx::Stream s, float eps) : FloatKernel(s, "layer_norm"), eps_(eps) {}
  const char* name() const override { return "AddLayerNorm"; }
  bool is_equivalent(const Primitive& other) const override { return static_cast<const AddLayerNorm&>(other).eps_ == eps_; }
  std::vector<mx::array> vjp(const std::vector<mx::array>& in, const std::vector<mx::array>& cotangents, const std::vector<int>& argnums,
                             const std::vector<mx::array>&) override {
    std::vector<mx::array> inputs{in[0], in[1], mx::contiguous(cotangents[0], false, stream())};
    if (in.size() > 3) inputs.push_back(in[3]);
    const auto all = arrays_like({in[0], in[1], in[2]}, std::make_shared<AddLayerNormGradient>(stream(), eps_), inputs);
    std::vector<mx::array> wanted;
    for (int argument : argnums) wanted.push_back(all[argument == 3 ? 0 : size_t(argument)]);
    return wanted;
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

bool pointwise_takes(const mx::array& x, mx::StreamOrDevice s) { return cpu_kernels(s) && x.size() > 0 && float_kernel_takes(x.dtype()); }

mx::array gelu(const mx::array& x, mx::Stream s) {
  return mx::array(x.shape(), x.dtype(), std::make_shared<Gelu>(s, false, GeluApproximation::none), {mx::contiguous(x, false, s)});
}

mx::array gelu_tanh(const mx::array& x, mx::Stream s) {
  return mx::array(x.shape(), x.dtype(), std::make_shared<Gelu>(s, false, GeluApproximation::tanh), {mx::contiguous(x, false, s)});
}

mx::array gelu_gate(const mx::array& x, mx::Stream s) {
  auto shape = x.shape();
  shape.back() /= 2;
  return mx::array(shape, x.dtype(), std::make_shared<Gelu>(s, true, GeluApproximation::none), {mx::contiguous(x, false, s)});
}

mx::array cast(const mx::array& x, mx::Dtype dtype, mx::Stream s) {
  return mx::array(x.shape(), dtype, std::make_shared<Cast>(s), {mx::contiguous(x, false, s)});
}

mx::array column_sum(const mx::array& x, mx::Stream s) {
  return mx::array({x.shape(1)}, x.dtype(), std::make_shared<ColumnSum>(s), {mx::contiguous(x, false, s)});
}

mx::array add_layer_norm(const mx::array& x, const std::optional<mx::array>& residual, const mx::array& weight, const mx::array& bias,
                         float eps, mx::Stream s) {
  std::vector<mx::array> inputs{mx::contiguous(x, false, s), plain_float(weight, s), plain_float(bias, s)};
  if (residual) inputs.push_back(mx::contiguous(mx::astype(*residual, x.dtype(), s), false, s));
  return mx::array(x.shape(), x.dtype(), std::make_shared<AddLayerNorm>(s, eps), std::move(inputs));
}

}  // namespace m2bert::ops::cpu

#else

namespace m2bert::ops::cpu {

bool pointwise_takes(const mx::array&, mx::StreamOrDevice) { return false; }
mx::array gelu(const mx::array&, mx::Stream) { fail("[gelu] this build has no CPU kernels"); }
mx::array gelu_tanh(const mx::array&, mx::Stream) { fail("[gelu_tanh] this build has no CPU kernels"); }
mx::array gelu_gate(const mx::array&, mx::Stream) { fail("[gelu_gate] this build has no CPU kernels"); }
mx::array cast(const mx::array&, mx::Dtype, mx::Stream) { fail("[cast] this build has no CPU kernels"); }
mx::array column_sum(const mx::array&, mx::Stream) { fail("[column_sum] this build has no CPU kernels"); }
mx::array add_layer_norm(const mx::array&, const std::optional<mx::array>&, const mx::array&, const mx::array&, float, mx::Stream) {
  fail("[add_layer_norm] this build has no CPU kernels");
}

}  // namespace m2bert::ops::cpu
#endif
