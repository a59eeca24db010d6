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

// The gradients of y = weight x.
mx::array weight_gradient(const mx::array& weight, const mx::array& x, const mx::array& dy, mx::Stream s) {
  return mx::reshape(mx::matmul(blocks_of(dy, weight, s), transposed(blocks_of(x, weight, s), s), s), weight.shape(), s);
}
// plus + the gradient of x.
mx::array input_gradient(const mx::array& weight, const mx::array& dy, const mx::array& plus, mx::Stream s) {
  const auto w = weight.ndim() == 3 ? weight : mx::reshape(weight, {1, weight.shape(0), weight.shape(1)}, s);
  return mx::reshape(mx::addmm(blocks_of(plus, w, s), transposed(w, s), blocks_of(dy, w, s), 1.0f, 1.0f, s), plus.shape(), s);
}

// Inputs: x [H, T], up, down, norm_weight, norm_bias, and maybe down_bias. Outputs: y [H, T], the norm's input, statistics and weight.
struct TrainingFeedForward {
  float eps;
  GateDropout dropout;
  mx::Stream s;

  Arrays operator()(const Arrays& in) const {
    const auto &x = in[0], &up = in[1], &down = in[2];
    const auto h = gated_up(up, x, dropout, s);
    const auto parameters = norm_parameters(down_bias(in), in[3], in[4], eps, s);
    const auto norm = channel_norm_training(multiply(down, h, s), x, parameters, s);
    return {norm.y, norm.sum, norm.statistics, parameters.weight};
  }

  static std::optional<mx::array> down_bias(const Arrays& in) { return in.size() > 5 ? std::optional(in[5]) : std::nullopt; }

  // made: what operator() returned.
  Arrays gradients(const Arrays& in, const mx::array& dy, const Arrays& made) const {
    const auto &x = in[0], &up = in[1], &down = in[2];
    const auto norm = channel_norm_gradient(dy, made[1], made[2], made[3], s);
    const auto [h, dg] = gated_up_gradient(up, x, down, norm.sum, dropout, s);
    const Arrays of_weights{weight_gradient(up, x, dg, s), weight_gradient(down, h, norm.sum, s)};
    // The rest of the backward pass waits for them, so that h and dg are freed first.
    Arrays result = mx::depends({input_gradient(up, dg, norm.sum, s)}, of_weights);
    result.insert(result.end(), of_weights.begin(), of_weights.end());
    const auto parameters = norm_parameter_gradients(norm.parameters, down_bias(in), in[3], in[4], s);
    result.insert(result.end(), parameters.begin(), parameters.end());
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
  auto gradients = [f](const cuda::Arrays& in, const cuda::Arrays& cotangents, const cuda::Arrays& made) {
    return f.gradients(in, cotangents[0], made);
  };
  return cuda::position_major(mx::custom_function(f, gradients)(in)[0], x, s);
}

}  // namespace m2bert::ops
