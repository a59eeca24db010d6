// The channel mixer for inference: the first product with the gate, the second one, and a kernel for residual and norm.
#include "m2bert/error.h"
#include "m2bert/ops/backend/cuda/channel_major.h"
#include "m2bert/ops/backend/cuda/cuda_backend.h"
#include "m2bert/ops/backend/cuda/feed_forward_weights.h"
#include "m2bert/ops/backend/cuda/product.h"

namespace m2bert::ops {

namespace cuda {
namespace {

class PackedGatedFeedForward final : public PackedFeedForward {
 public:
  PackedGatedFeedForward(const FeedForwardWeights& w, mx::Stream s)
      : up_(w.up.values), down_(w.down.values), norm_(norm_parameters(w.down_bias, w.norm_weight, w.norm_bias, w.eps, s)) {
    mx::eval(up_, down_, norm_.bias, norm_.weight, norm_.norm_bias);
  }

  mx::array operator()(const mx::array& x, mx::StreamOrDevice device) const override {
    const int H = int(norm_.weight.size());
    require(x.ndim() >= 1 && x.shape(-1) == H, "[feed_forward] x has shape ", x.shape(), ", the weights want ", H, " columns");
    require(x.dtype() == mx::bfloat16, "[feed_forward] x is ", x.dtype(), ", the weights want bfloat16");
    if (x.size() == 0) return x;
    const auto s = mx::to_stream(device);
    const auto residual = channel_major(x, s);
    const auto hidden = gated_up(up_, residual, {}, s);
    return position_major(channel_norm(product(down_, hidden, s), residual, norm_, s), x, s);
  }

 private:
  mx::array up_, down_;
  NormParameters norm_;
};

}  // namespace
}  // namespace cuda

std::unique_ptr<PackedFeedForward> CudaBackend::pack_feed_forward(const FeedForwardWeights& w, mx::Stream s) const {
  if (!cuda::supports_feed_forward(w, int(w.norm_weight.size()))) return nullptr;
  return std::make_unique<cuda::PackedGatedFeedForward>(w, s);
}

}  // namespace m2bert::ops
