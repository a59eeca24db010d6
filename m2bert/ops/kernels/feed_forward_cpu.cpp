#include "m2bert/ops/kernels/feed_forward_cpu.h"

#include "m2bert/error.h"
#include "m2bert/ops/kernels/kernel.h"

#ifdef M2BERT_CPU_KERNELS
#include "m2bert/ops/kernels/feed_forward.h"
#include "m2bert/ops/kernels/host_weight.h"
#include "m2bert/threads.h"

namespace m2bert::ops::kernels {

namespace {

// Input: x.
class FeedForwardPrimitive : public FloatKernel<FeedForwardPrimitive> {
 public:
  FeedForwardPrimitive(mx::Stream s, PreparedFeedForward prepared) : FloatKernel(s, "feed_forward"), prepared_(std::move(prepared)) {}
  const char* name() const override { return "FeedForward"; }
  bool is_equivalent(const Primitive& other) const override {
    return static_cast<const FeedForwardPrimitive&>(other).prepared_ == prepared_;
  }
  static constexpr bool kInPlace = true;

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    return [prepared = prepared_, x = in[0].data<T>(), y = out[0].data<T>(), rows = int64_t(in[0].size()) / in[0].shape(-1)] {
      prepared->run(x, rows, y, threads());
    };
  }

 private:
  PreparedFeedForward prepared_;
};

}  // namespace

PreparedFeedForward prepare_feed_forward(const FeedForwardWeights& w, mx::Stream s) {
  const auto number = number_of(w.up);
  if (!number || number_of(w.down) != number) return nullptr;
  HostArrays host(s);
  FeedForwardSource source{*number,
                           host.weight(w.up),
                           host.weight(w.down),
                           host.floats(w.up_bias),
                           host.floats(w.down_bias),
                           host.floats(w.norm_weight),
                           host.floats(w.norm_bias),
                           w.eps,
                           w.activation,
                           w.gated};
  if (!feed_forward_takes(source.up, source.down, w.gated)) return nullptr;
  return std::make_shared<const FeedForward>(source);
}

mx::array feed_forward(const mx::array& x, const PreparedFeedForward& prepared, mx::Stream s) {
  require(prepared != nullptr, "[feed_forward] the weights are not prepared");
  require(x.ndim() >= 1 && x.shape(-1) == prepared->width(), "[feed_forward] x has shape ", x.shape(), ", the weights want ",
          prepared->width(), " columns");
  require(takes_input(prepared->number(), x.dtype()), "[feed_forward] x is ", x.dtype(), ", the weights want another dtype");
  if (x.size() == 0) return x;
  return mx::array(x.shape(), x.dtype(), std::make_shared<FeedForwardPrimitive>(s, prepared), {mx::contiguous(x, false, s)});
}

}  // namespace m2bert::ops::kernels

#else

namespace m2bert::ops::kernels {

PreparedFeedForward prepare_feed_forward(const FeedForwardWeights&, mx::Stream) { return nullptr; }
mx::array feed_forward(const mx::array&, const PreparedFeedForward&, mx::Stream) { fail("[feed_forward] this build has no CPU kernels"); }

}  // namespace m2bert::ops::kernels
#endif
