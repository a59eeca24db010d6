#include "m2bert/ops/backend/cpu/cpu_backend.h"
#include "m2bert/ops/backend/cpu/host_arrays.h"
#include "m2bert/ops/backend/cpu/simd/packed_feed_forward_host.h"
#include "m2bert/threads.h"

namespace m2bert::ops {

namespace cpu {
namespace {

using Host = std::shared_ptr<const PackedFeedForwardHost>;

// Input: x.
class PackedFeedForwardPrimitive : public PackedPrimitive<PackedFeedForwardPrimitive> {
 public:
  PackedFeedForwardPrimitive(mx::Stream s, Host weights) : PackedPrimitive(s, "feed_forward"), weights_(std::move(weights)) {}
  const char* name() const override { return "PackedFeedForward"; }
  bool is_equivalent(const Primitive& other) const override {
    return static_cast<const PackedFeedForwardPrimitive&>(other).weights_ == weights_;
  }
  static constexpr bool kInPlace = true;

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    return [weights = weights_, x = in[0].data<T>(), y = out[0].data<T>(), rows = int64_t(in[0].size()) / in[0].shape(-1)] {
      weights->run(x, rows, y, threads());
    };
  }

 private:
  Host weights_;
};

class PackedWeights final : public PackedFeedForward {
 public:
  explicit PackedWeights(Host weights) : weights_(std::move(weights)) {}

  mx::array operator()(const mx::array& x, mx::StreamOrDevice s) const override {
    require(x.ndim() >= 1 && x.shape(-1) == weights_->width(), "[feed_forward] x has shape ", x.shape(), ", the weights want ",
            weights_->width(), " columns");
    require_input_dtype("feed_forward", "x", x, weights_->dtype());
    if (x.size() == 0) return x;
    const auto stream = mx::to_stream(s);
    return mx::array(x.shape(), x.dtype(), std::make_shared<PackedFeedForwardPrimitive>(stream, weights_), {contiguous(x, stream)});
  }

 private:
  Host weights_;
};

}  // namespace
}  // namespace cpu

std::unique_ptr<PackedFeedForward> CpuBackend::pack_feed_forward(const FeedForwardWeights& w, mx::Stream s) const {
  const auto dtype = cpu::host_dtype_of(w.up);
  if (!dtype || cpu::host_dtype_of(w.down) != dtype || w.activation == Activation::tanh) return nullptr;
  cpu::HostArrays host(s);
  cpu::PackedFeedForwardSource source{*dtype,
                                      host.weight(w.up),
                                      host.weight(w.down),
                                      host.floats(w.up_bias),
                                      host.floats(w.down_bias),
                                      host.floats(w.norm_weight),
                                      host.floats(w.norm_bias),
                                      w.eps,
                                      w.activation,
                                      w.gated};
  if (!cpu::packed_feed_forward_supports(source.up, source.down, w.gated)) return nullptr;
  return std::make_unique<cpu::PackedWeights>(std::make_shared<const cpu::PackedFeedForwardHost>(source));
}

}  // namespace m2bert::ops
