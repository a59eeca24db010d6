#include "m2bert/error.h"
#include "m2bert/ops/kernels/kernel.h"
#include "m2bert/ops/kernels/pointwise.h"

#ifdef M2BERT_CPU_KERNELS
#include <mlx/primitives.h>

#include "m2bert/ops/kernels/encode.h"
#include "m2bert/ops/kernels/pointwise_simd.h"
#include "m2bert/threads.h"

namespace m2bert::ops::kernels {

namespace {

class Gelu : public mx::UnaryPrimitive {
 public:
  Gelu(mx::Stream s, bool gated) : UnaryPrimitive(s), gated_(gated) {}
  const char* name() const override { return gated_ ? "GeluGate" : "Gelu"; }
  bool is_equivalent(const Primitive& other) const override { return static_cast<const Gelu&>(other).gated_ == gated_; }
  void eval_gpu(const std::vector<mx::array>&, mx::array&) override { fail("[gelu] the kernel runs on the CPU alone"); }
  void eval_cpu(const std::vector<mx::array>& in, mx::array& out) override {
    auto& encoder = encode(stream(), in, out);
    if (out.dtype() == mx::float32) {
      dispatch<float>(encoder, in[0], out);
    } else {
      dispatch<uint16_t>(encoder, in[0], out);
    }
  }

 private:
  template <class T>
  void dispatch(mx::cpu::CommandEncoder& encoder, const mx::array& in, mx::array& out) const {
    const int64_t size = int64_t(out.size()), width = out.shape(-1);
    encoder.dispatch([x = in.data<T>(), y = out.data<T>(), size, width, gated = gated_] {
      if (gated) {
        gelu_gate_rows(x, y, size / width, width, threads());
      } else {
        gelu_values(x, y, size, threads());
      }
    });
  }

  bool gated_;
};

// x, weight, bias, and the residual where there is one.
class AddLayerNorm : public mx::UnaryPrimitive {
 public:
  AddLayerNorm(mx::Stream s, float eps) : UnaryPrimitive(s), eps_(eps) {}
  const char* name() const override { return "AddLayerNorm"; }
  bool is_equivalent(const Primitive& other) const override { return static_cast<const AddLayerNorm&>(other).eps_ == eps_; }
  void eval_gpu(const std::vector<mx::array>&, mx::array&) override { fail("[add_layer_norm] the kernel runs on the CPU alone"); }
  void eval_cpu(const std::vector<mx::array>& in, mx::array& out) override {
    auto& encoder = encode(stream(), in, out);
    if (out.dtype() == mx::float32) {
      dispatch<float>(encoder, in, out);
    } else {
      dispatch<uint16_t>(encoder, in, out);
    }
  }

 private:
  template <class T>
  void dispatch(mx::cpu::CommandEncoder& encoder, const std::vector<mx::array>& in, mx::array& out) const {
    encoder.dispatch(
        [x = in[0].data<T>(), w = in[1].data<float>(), b = in[2].data<float>(), residual = in.size() > 3 ? in[3].data<T>() : nullptr,
         eps = eps_, y = out.data<T>(), width = int64_t(out.shape(-1)),
         rows = int64_t(out.size()) / out.shape(-1)] { layer_norm_rows<T>(x, residual, w, b, eps, y, rows, width, threads()); });
  }

  float eps_;
};

}  // namespace

bool pointwise_takes(const mx::array& x, mx::StreamOrDevice s) {
  return cpu_kernels(s) && !x.is_tracer() && x.size() > 0 && (x.dtype() == mx::float32 || x.dtype() == mx::bfloat16);
}

mx::array gelu(const mx::array& x, mx::Stream s) {
  return mx::array(x.shape(), x.dtype(), std::make_shared<Gelu>(s, false), {mx::contiguous(x, false, s)});
}

mx::array gelu_gate(const mx::array& x, mx::Stream s) {
  auto shape = x.shape();
  shape.back() /= 2;
  return mx::array(shape, x.dtype(), std::make_shared<Gelu>(s, true), {mx::contiguous(x, false, s)});
}

mx::array add_layer_norm(const mx::array& x, const std::optional<mx::array>& residual, const mx::array& weight, const mx::array& bias,
                         float eps, mx::Stream s) {
  auto plain = [&](const mx::array& a) { return mx::contiguous(mx::astype(a, mx::float32, s), false, s); };
  std::vector<mx::array> inputs{mx::contiguous(x, false, s), plain(weight), plain(bias)};
  if (residual) inputs.push_back(mx::contiguous(mx::astype(*residual, x.dtype(), s), false, s));
  return mx::array(x.shape(), x.dtype(), std::make_shared<AddLayerNorm>(s, eps), std::move(inputs));
}

}  // namespace m2bert::ops::kernels

#else

namespace m2bert::ops::kernels {

bool pointwise_takes(const mx::array&, mx::StreamOrDevice) { return false; }
mx::array gelu(const mx::array&, mx::Stream) { fail("[gelu] this build has no CPU kernels"); }
mx::array gelu_gate(const mx::array&, mx::Stream) { fail("[gelu_gate] this build has no CPU kernels"); }
mx::array add_layer_norm(const mx::array&, const std::optional<mx::array>&, const mx::array&, const mx::array&, float, mx::Stream) {
  fail("[add_layer_norm] this build has no CPU kernels");
}

}  // namespace m2bert::ops::kernels
#endif
