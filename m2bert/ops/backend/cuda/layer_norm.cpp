#include "m2bert/ops/layer_norm.h"

#include <algorithm>

#include "m2bert/ops/backend/cuda/cuda_backend.h"
#include "m2bert/ops/backend/cuda/kernel.h"
#include "m2bert/ops/backend/cuda/scalar_dtype.h"

namespace m2bert::ops {

namespace {

using Arrays = std::vector<mx::array>;
constexpr int ROWS = 8, THREADS = 32 * ROWS;  // a warp for each row
constexpr int NARROW = 1024, WIDEST = 2048;   // of the kernels; the gradient's are narrow
constexpr int BLOCKS = 264;                   // of the gradient, at most

// Of the last axis of x.
struct RowNorm {
  int rows, H;
  bool adds;  // a residual
  float eps;
  mx::Dtype dtype;

  std::string kernel(const std::string& name) const { return name + (dtype == mx::float32 ? "_float32" : "_bfloat16"); }
  cuda::Scalars scalars(int wide) const { return {rows, H, eps, adds, wide}; }

  // in: x, the residual if there is one, weight, bias.
  const mx::array& residual(const Arrays& in) const { return in[adds ? 1 : 0]; }
  mx::array forward(const Arrays& in, mx::Stream s) const {
    const auto weight = cuda::float_array(in[in.size() - 2], s), bias = cuda::float_array(in.back(), s);
    return cuda::run({"layer_norm", kernel("layer_norm") + (H > NARROW ? "_2048" : ""), cuda::ceil_div(rows, ROWS), 1, THREADS},
                     {in[0], residual(in), weight, bias}, in[0].shape(), dtype, scalars(cuda::wide_bits({weight, bias})), s);
  }
  Arrays backward(const Arrays& in, const mx::array& dy, mx::Stream s) const {
    const auto weight = cuda::float_array(in[in.size() - 2], s);
    const int blocks = std::min(cuda::ceil_div(rows, ROWS), BLOCKS);
    const auto out = cuda::run({"layer_norm", kernel("layer_norm_gradient"), blocks, 1, THREADS, 8 * H}, {in[0], residual(in), weight, dy},
                               {in[0].shape(), {blocks, 2, H}}, {dtype, mx::float32}, scalars(cuda::wide_bits({weight})), s);
    const auto sums = mx::split(mx::sum(out[1], 0, false, s), 2, 0, s);
    Arrays gradients(adds ? 2 : 1, out[0]);
    for (size_t i = 0; i < 2; ++i) {
      gradients.push_back(mx::astype(mx::reshape(sums[i], {H}, s), in[in.size() - 2 + i].dtype(), s));
    }
    return gradients;
  }
};

}  // namespace

Backend::Array CudaBackend::layer_norm(const mx::array& x, const std::optional<mx::array>& residual, const mx::array& weight,
                                       const mx::array& bias, float eps, mx::Stream s) const {
  const int H = x.shape(-1);
  if (x.size() == 0 || H % 8 != 0 || H > WIDEST || (x.dtype() != mx::float32 && x.dtype() != mx::bfloat16) ||
      (residual && residual->dtype() != x.dtype())) {
    return {};
  }
  const RowNorm norm{int(x.size() / size_t(H)), H, residual.has_value(), eps, x.dtype()};
  Arrays inputs{x};
  if (residual) inputs.push_back(*residual);
  inputs.insert(inputs.end(), {weight, bias});
  auto forward = [=](const Arrays& in) { return Arrays{norm.forward(in, s)}; };
  auto backward = [=](const Arrays& in, const Arrays& cotangents, const Arrays&) {
    if (H <= NARROW) return norm.backward(in, cotangents[0], s);
    auto composed = [=](const Arrays& a) {
      return Arrays{layer_norm_fallback(a[0], norm.adds ? std::optional(a[1]) : std::nullopt, a[a.size() - 2], a.back(), eps, s)};
    };
    return mx::vjp(composed, in, cotangents).second;
  };
  return mx::custom_vjp(forward, backward)(inputs)[0];
}

}  // namespace m2bert::ops
