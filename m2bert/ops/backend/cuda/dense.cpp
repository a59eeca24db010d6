// GELU, and dense layers with a bias, bfloat16, as in the heads around the encoder.
#include <climits>

#include "m2bert/ops/backend/cuda/cuda_backend.h"
#include "m2bert/ops/backend/cuda/kernel.h"

namespace m2bert::ops {

namespace {
using Arrays = std::vector<mx::array>;
}

Backend::Array CudaBackend::gelu(const mx::array& x, mx::Stream s) const {
  if (x.dtype() != mx::bfloat16 || x.size() == 0 || x.size() > size_t(INT_MAX)) return {};
  constexpr int threads = 256, values = 8;  // of a thread (gelu.cu)
  const int n = int(x.size()), blocks = int((x.size() + threads * values - 1) / (threads * values));
  const cuda::Launch launch{"gelu", "gelu_values", blocks, 1, threads};
  auto forward = [=](const Arrays& in) { return Arrays{cuda::run(launch, in, in[0].shape(), mx::bfloat16, {n}, s)}; };
  auto backward = [=](const Arrays& in, const Arrays& cotangents, const Arrays&) {
    auto gradient = launch;
    gradient.kernel = "gelu_values_gradient";
    return Arrays{cuda::run(gradient, {in[0], mx::astype(cotangents[0], mx::bfloat16, s)}, in[0].shape(), mx::bfloat16, {n}, s)};
  };
  return mx::custom_vjp(forward, backward)({x})[0];
}

// A dense layer with a bias, whose gradient is a product with ones: MLX's sum over the rows of a narrow matrix uses few of the GPU's
// multiprocessors.
Backend::Array CudaBackend::blockdiag_multiply(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias,
                                               mx::Stream s) const {
  const bool narrow = x.dtype() == mx::bfloat16 && weight.dtype() == mx::bfloat16 && bias && bias->dtype() == mx::bfloat16;
  if (weight.shape(0) != 1 || !narrow || x.size() == 0) return {};
  const int in_size = weight.shape(2), out_size = weight.shape(1), rows = int(x.size() / size_t(in_size));
  auto forward = [=](const Arrays& in) {
    return Arrays{mx::addmm(in[2], in[0], mx::transpose(mx::reshape(in[1], {out_size, in_size}, s), s), 1.0f, 1.0f, s)};
  };
  auto backward = [=](const Arrays& in, const Arrays& cotangents, const Arrays&) {
    const auto dy = mx::reshape(cotangents[0], {rows, out_size}, s), flat = mx::reshape(in[0], {rows, in_size}, s);
    const auto dx = mx::reshape(mx::matmul(dy, mx::reshape(in[1], {out_size, in_size}, s), s), in[0].shape(), s);
    const auto dweight = mx::reshape(mx::matmul(mx::transpose(dy, s), flat, s), in[1].shape(), s);
    const auto dbias = mx::reshape(mx::matmul(mx::ones({1, rows}, mx::bfloat16, s), dy, s), {out_size}, s);
    const auto first = mx::depends({dx}, {dweight, dbias});  // so that dy is freed before the rest of the backward pass
    return Arrays{first[0], dweight, dbias};
  };
  return mx::custom_vjp(forward, backward)({x, weight, *bias})[0];
}

}  // namespace m2bert::ops
