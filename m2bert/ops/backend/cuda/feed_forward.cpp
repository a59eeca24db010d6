// The channel mixer with gradients: the first product with its gate in one kernel where there is one, the other products by cuBLAS, and a
// kernel for the norm. The gradient keeps the input and the norm's input and computes the rest again: the result of up would be four times
// their size.
#include "m2bert/ops/feed_forward.h"

#include "m2bert/ops/backend/cuda/channel_major.h"
#include "m2bert/ops/backend/cuda/channel_mixer.h"
#include "m2bert/ops/backend/cuda/cuda_backend.h"
#include "m2bert/ops/backend/cuda/feed_forward_weights.h"

namespace m2bert::ops {

namespace cuda {
namespace {

using Arrays = std::vector<mx::array>;

// [C, T] in the blocks of a weight [nb, out, in].
mx::array blocks_of(const mx::array& x, const mx::array& weight, mx::Stream s) {
  const int nb = weight.ndim() == 3 ? weight.shape(0) : 1;
  return mx::reshape(x, {nb, x.shape(0) / nb, x.shape(1)}, s);
}
mx::array transposed(const mx::array& a, mx::Stream s) { return mx::swapaxes(a, -1, -2, s); }

// The gradients of y = weight x.
mx::array weight_gradient(const mx::array& weight, const mx::array& x, const mx::array& dy, mx::Stream s) {
  return mx::reshape(mx::matmul(blocks_of(dy, weight, s), transposed(blocks_of(x, weight, s), s), s), weight.shape(), s);
}
// plus + the gradient of x.
mx::array input_gradient(const mx::array& weight, const mx::array& dy, const mx::array& plus, mx::Stream s) {
  const auto w = weight.ndim() == 3 ? weight : mx::reshape(weight, {1, weight.shape(0), weight.shape(1)}, s);
  return mx::reshape(mx::addmm(blocks_of(plus, w, s), transposed(w, s), blocks_of(dy, w, s), 1.0f, 1.0f, s), plus.shape(), s);
}

// Inputs: x [H, T], up, down, norm_weight, norm_bias, and maybe down_bias. Outputs: y [H, T], the norm's input and statistics.
struct TrainingFeedForward {
  float eps;
  GateDropout dropout;
  mx::Stream s;

  Arrays operator()(const Arrays& in) const {
    const auto &x = in[0], &up = in[1], &down = in[2];
    const auto bias = in.size() > 5 ? float32(in[5], s) : mx::zeros({x.shape(0)}, mx::float32, s);
    const auto h = gated_up(up, x, dropout, s);
    const auto norm = channel_norm_training(multiply(down, h, s), x, {bias, float32(in[3], s), float32(in[4], s), eps}, s);
    return {norm.y, norm.sum, norm.statistics};
  }

  Arrays gradients(const Arrays& in, const mx::array& dy, const mx::array& sum, const mx::array& statistics) const {
    const auto &x = in[0], &up = in[1], &down = in[2];
    const auto norm = channel_norm_gradient(dy, sum, statistics, float32(in[3], s), s);
    const auto [h, dg] = gated_up_gradient(up, x, down, norm.sum, dropout, s);
    Arrays result{input_gradient(up, dg, norm.sum, s), weight_gradient(up, x, dg, s), weight_gradient(down, h, norm.sum, s)};
    for (size_t i = 3; i < in.size(); ++i) {
      const int row = int(i) - 3;  // of norm.parameters
      result.push_back(
          mx::astype(mx::reshape(mx::slice(norm.parameters, {row, 0}, {row + 1, x.shape(0)}, s), in[i].shape(), s), in[i].dtype(), s));
    }
    return result;
  }
};

}  // namespace
}  // namespace cuda

Backend::Array CudaBackend::feed_forward(const mx::array& x, const FeedForwardWeights& w, float p, const std::optional<mx::array>& key,
                                         mx::Stream s) const {
  if (x.dtype() != mx::bfloat16 || x.ndim() < 1 || x.size() == 0 || !cuda::supports_feed_forward(w, x.shape(-1))) return {};
  const cuda::TrainingFeedForward f{w.eps, {p, key}, s};
  cuda::Arrays in{cuda::channel_major(x, s), w.up.values, w.down.values, w.norm_weight, w.norm_bias};
  if (w.down_bias) in.push_back(*w.down_bias);
  auto gradients = [f](const cuda::Arrays& in, const cuda::Arrays& cotangents, const cuda::Arrays& out) {
    return f.gradients(in, cotangents[0], out[1], out[2]);
  };
  return cuda::position_major(mx::custom_function(f, gradients)(in)[0], x, s);
}

}  // namespace m2bert::ops
