// The channel mixer: two products by cuBLAS, a kernel for the gate and one for residual and norm.
#include "m2bert/error.h"
#include "m2bert/ops/backend/cuda/channel_major.h"
#include "m2bert/ops/backend/cuda/cuda_backend.h"
#include "m2bert/ops/backend/cuda/kernel.h"

namespace m2bert::ops {

namespace cuda {
namespace {

class PackedGatedFeedForward final : public PackedFeedForward {
 public:
  PackedGatedFeedForward(const FeedForwardWeights& w, mx::Stream s)
      : up_(w.up.values),
        down_(w.down.values),
        down_bias_(w.down_bias ? mx::astype(*w.down_bias, mx::float32, s) : mx::zeros({int(w.norm_weight.size())}, mx::float32, s)),
        norm_weight_(mx::astype(w.norm_weight, mx::float32, s)),
        norm_bias_(mx::astype(w.norm_bias, mx::float32, s)),
        eps_(w.eps) {
    mx::eval(up_, down_, down_bias_, norm_weight_, norm_bias_);
  }

  mx::array operator()(const mx::array& x, mx::StreamOrDevice device) const override {
    const int H = int(norm_weight_.size());
    require(x.ndim() >= 1 && x.shape(-1) == H, "[feed_forward] x has shape ", x.shape(), ", the weights want ", H, " columns");
    require(x.dtype() == mx::bfloat16, "[feed_forward] x is ", x.dtype(), ", the weights want bfloat16");
    if (x.size() == 0) return x;
    const auto s = mx::to_stream(device);
    const auto residual = channel_major(x, s);
    const int T = residual.shape(1);
    const auto hidden = gate(multiply(up_, residual, s), s);
    return position_major(norm(multiply(down_, hidden, s), residual, H, T, s), x, s);
  }

 private:
  static mx::array gate(const mx::array& x, mx::Stream s) {
    const int vectors = int(x.size() / 16), threads = 256;
    return run({"gelu_gate", "gelu_gate", (vectors + threads - 1) / threads, 1, threads}, {x}, {x.shape(0) / 2, x.shape(1)}, x.dtype(),
               {vectors}, s);
  }
  mx::array norm(const mx::array& y, const mx::array& residual, int H, int T, mx::Stream s) const {
    constexpr int columns = 16, threads = 512, shared_bytes = 2048;
    return run({"channel_norm", H <= 768 ? "channel_norm_768" : "channel_norm", (T + columns - 1) / columns, 1, threads, shared_bytes},
               {y, residual, down_bias_, norm_weight_, norm_bias_}, {H, T}, y.dtype(), {H, T, eps_}, s);
  }

  mx::array up_, down_, down_bias_, norm_weight_, norm_bias_;
  float eps_;
};

bool is_bfloat16(const Weight& w) { return !w.scale && w.values.dtype() == mx::bfloat16; }

}  // namespace
}  // namespace cuda

std::unique_ptr<PackedFeedForward> CudaBackend::pack_feed_forward(const FeedForwardWeights& w, mx::Stream s) const {
  if (!w.gated || w.activation != Activation::gelu || w.up_bias || !cuda::is_bfloat16(w.up) || !cuda::is_bfloat16(w.down)) return nullptr;
  auto inputs = [](const mx::array& a) { return a.ndim() == 3 ? a.shape(0) * a.shape(2) : a.shape(1); };
  auto outputs = [](const mx::array& a) { return a.ndim() == 3 ? a.shape(0) * a.shape(1) : a.shape(0); };
  const int H = inputs(w.up.values), I = inputs(w.down.values);
  if (outputs(w.up.values) != 2 * I || outputs(w.down.values) != H || I % 8 != 0) return nullptr;
  return std::make_unique<cuda::PackedGatedFeedForward>(w, s);
}

}  // namespace m2bert::ops
