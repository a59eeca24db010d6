#include "m2bert/ops/backend/cuda/cuda_backend.h"
#include "m2bert/ops/backend/cuda/kernel.h"

namespace m2bert::ops {

namespace {

using Arrays = std::vector<mx::array>;
constexpr int THREADS = 256;

}  // namespace

Backend::Array CudaBackend::cross_entropy_rows(const mx::array& x, const mx::array& labels, mx::Stream s) const {
  if (x.size() == 0 || x.dtype() != mx::bfloat16) return {};
  const int rows = x.shape(0), classes = x.shape(1);
  // The loss of each row and its log-sum-exp, which the gradient reuses.
  auto forward = [=](const Arrays& in) {
    return cuda::run({"cross_entropy", "cross_entropy", rows, 1, THREADS, THREADS / 32 * 8}, in, {{rows}, {rows}},
                     {mx::float32, mx::float32}, {classes}, s);
  };
  auto backward = [=](const Arrays& in, const Arrays& cotangents, const Arrays& results) {
    const auto dx = cuda::run({"cross_entropy", "cross_entropy_gradient", rows, 1, THREADS}, {in[0], in[1], results[1], cotangents[0]},
                              in[0].shape(), mx::bfloat16, {classes}, s);
    return Arrays{dx, mx::zeros_like(in[1], s)};
  };
  return mx::custom_vjp(forward, backward)({x, mx::astype(labels, mx::int32, s)})[0];
}

}  // namespace m2bert::ops
