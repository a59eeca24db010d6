#include "m2bert/ops/backend/cpu/packed_linear_primitive.h"

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"

#ifdef M2BERT_CPU_KERNELS
#include "m2bert/ops/backend/cpu/host_arrays.h"
#include "m2bert/ops/backend/cpu/simd/packed_linear_host.h"
#include "m2bert/threads.h"

namespace m2bert::ops::cpu {

namespace {

// Inputs: x, and the residual where there is a norm.
class LinearPrimitive : public FloatKernel<LinearPrimitive> {
 public:
  LinearPrimitive(mx::Stream s, PackedLinear prepared) : FloatKernel(s, "linear"), prepared_(std::move(prepared)) {}
  const char* name() const override { return "TiledLinear"; }
  bool is_equivalent(const Primitive& other) const override { return static_cast<const LinearPrimitive&>(other).prepared_ == prepared_; }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    return [prepared = prepared_, x = in[0].data<T>(), residual = in.size() > 1 ? in[1].data<T>() : nullptr, y = out[0].data<T>(),
            rows = int64_t(in[0].size()) / in[0].shape(-1)] { prepared->run(x, residual, rows, y, threads()); };
  }

 private:
  PackedLinear prepared_;
};

}  // namespace

PackedLinear pack_linear(const LinearWeights& w, const std::optional<NormWeights>& norm, mx::Stream s) {
  const auto dtype = host_dtype_of(w.weight);
  if (!dtype) return nullptr;
  HostArrays host(s);
  PackedLinearSource source{*dtype, host.weight(w.weight), host.floats(w.bias), nullptr, nullptr, 0};
  if (!packed_linear_supports(source.weight)) return nullptr;
  if (norm) {
    require(norm->weight.size() == size_t(source.weight.q) && norm->bias.size() == norm->weight.size(), "[pack_linear] the norm has ",
            norm->weight.size(), " weights, the layer ", source.weight.q, " outputs");
    source.norm_weight = host.floats(norm->weight);
    source.norm_bias = host.floats(norm->bias);
    source.eps = norm->eps;
  }
  return std::make_shared<const PackedLinearHost>(source);
}

mx::array linear(const mx::array& x, const PackedLinear& prepared, const std::optional<mx::array>& residual, mx::Stream s) {
  require(prepared != nullptr, "[linear] the weights are not prepared");
  require(x.ndim() >= 1 && x.shape(-1) == prepared->in(), "[linear] x has shape ", x.shape(), ", the weights want ", prepared->in(),
          " columns");
  require(supports_input(prepared->dtype(), x.dtype()), "[linear] x is ", x.dtype(), ", the weights want another dtype");
  auto shape = x.shape();
  shape.back() = prepared->out();
  require(residual.has_value() == prepared->has_norm(), "[linear] the weights were prepared ", prepared->has_norm() ? "with" : "without",
          " a norm, and there is ", residual ? "a" : "no", " residual");
  require(!residual || (residual->shape() == shape && residual->dtype() == x.dtype()), "[linear] the residual is ",
          residual ? residual->dtype() : x.dtype(), " of shape ", residual ? residual->shape() : shape, ", wants ", x.dtype(), " ", shape);
  if (x.size() == 0) return mx::zeros(shape, x.dtype(), s);
  std::vector<mx::array> inputs{mx::contiguous(x, false, s)};
  if (residual) inputs.push_back(mx::contiguous(*residual, false, s));
  return mx::array(shape, x.dtype(), std::make_shared<LinearPrimitive>(s, prepared), std::move(inputs));
}

}  // namespace m2bert::ops::cpu

#else

namespace m2bert::ops::cpu {

PackedLinear pack_linear(const LinearWeights&, const std::optional<NormWeights>&, mx::Stream) { return nullptr; }
mx::array linear(const mx::array&, const PackedLinear&, const std::optional<mx::array>&, mx::Stream) {
  fail("[linear] this build has no CPU kernels");
}

}  // namespace m2bert::ops::cpu
#endif
