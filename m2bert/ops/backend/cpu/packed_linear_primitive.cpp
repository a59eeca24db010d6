#include "m2bert/ops/backend/cpu/cpu_backend.h"
#include "m2bert/ops/backend/cpu/host_arrays.h"
#include "m2bert/ops/backend/cpu/simd/packed_linear_host.h"
#include "m2bert/threads.h"

namespace m2bert::ops {

namespace cpu {
namespace {

using Host = std::shared_ptr<const PackedLinearHost>;

// Inputs: x, and the residual if there is a norm.
class PackedLinearPrimitive : public PackedPrimitive<PackedLinearPrimitive> {
 public:
  PackedLinearPrimitive(mx::Stream s, Host weights) : PackedPrimitive(s, "linear"), weights_(std::move(weights)) {}
  const char* name() const override { return "PackedLinear"; }
  bool is_equivalent(const Primitive& other) const override {
    return static_cast<const PackedLinearPrimitive&>(other).weights_ == weights_;
  }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    return [weights = weights_, x = in[0].data<T>(), residual = weights_->has_norm() ? in[1].data<T>() : nullptr, y = out[0].data<T>(),
            rows = int64_t(in[0].size()) / in[0].shape(-1)] { weights->run(x, residual, rows, y, threads()); };
  }

 private:
  Host weights_;
};

class PackedWeights final : public PackedLinear {
 public:
  explicit PackedWeights(Host weights) : weights_(std::move(weights)) {}

  mx::array operator()(const mx::array& x, const std::optional<mx::array>& residual, mx::StreamOrDevice s) const override {
    require(x.ndim() >= 1 && x.shape(-1) == weights_->in(), "[linear] x has shape ", x.shape(), ", the weights want ", weights_->in(),
            " columns");
    require_input_dtype("linear", "x", x, weights_->dtype());
    auto shape = x.shape();
    shape.back() = weights_->out();
    require(residual.has_value() == weights_->has_norm(), "[linear] the weights were packed ", weights_->has_norm() ? "with" : "without",
            " a norm, and there is ", residual ? "a" : "no", " residual");
    require(!residual || (residual->shape() == shape && residual->dtype() == x.dtype()), "[linear] the residual is ",
            residual ? residual->dtype() : x.dtype(), " of shape ", residual ? residual->shape() : shape, ", wants ", x.dtype(), " ",
            shape);
    if (x.size() == 0) return mx::zeros(shape, x.dtype(), s);
    const auto stream = mx::to_stream(s);
    std::vector<mx::array> inputs{contiguous(x, stream)};
    if (residual) inputs.push_back(contiguous(*residual, stream));
    return mx::array(shape, x.dtype(), std::make_shared<PackedLinearPrimitive>(stream, weights_), std::move(inputs));
  }

 private:
  Host weights_;
};

}  // namespace
}  // namespace cpu

std::unique_ptr<PackedLinear> CpuBackend::pack_linear(const LinearWeights& w, const std::optional<NormWeights>& norm, mx::Stream s) const {
  const auto dtype = cpu::host_dtype_of(w.weight);
  if (!dtype) return nullptr;
  cpu::HostArrays host(s);
  cpu::PackedLinearSource source{*dtype, host.weight(w.weight), host.floats(w.bias), nullptr, nullptr, 0};
  if (!cpu::packed_linear_supports(source.weight)) return nullptr;
  if (norm) {
    require(norm->weight.size() == size_t(source.weight.q) && norm->bias.size() == norm->weight.size(), "[pack_linear] the norm has ",
            norm->weight.size(), " weights, the layer ", source.weight.q, " outputs");
    source.norm_weight = host.floats(norm->weight);
    source.norm_bias = host.floats(norm->bias);
    source.eps = norm->eps;
  }
  return std::make_unique<cpu::PackedWeights>(std::make_shared<const cpu::PackedLinearHost>(source));
}

}  // namespace m2bert::ops
