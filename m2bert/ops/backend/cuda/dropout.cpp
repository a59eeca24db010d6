#include "m2bert/ops/dropout.h"

#include <limits>

#include "m2bert/ops/backend/cuda/cuda_backend.h"
#include "m2bert/ops/backend/cuda/kernel.h"
#include "m2bert/ops/dropout_mask.h"

namespace m2bert::ops {

namespace {
using Arrays = std::vector<mx::array>;
}

Backend::Array CudaBackend::dropout(const mx::array& x, float p, const mx::array& key, mx::Stream s) const {
  const bool bfloat16 = x.dtype() == mx::bfloat16;
  if (x.size() == 0 || x.size() > size_t(std::numeric_limits<int>::max()) || (!bfloat16 && x.dtype() != mx::float32)) return {};
  auto drop = [=](const mx::array& x, const mx::array& key) {
    constexpr int threads = 256, values = 8;
    const int n = int(x.size()), blocks = int((x.size() + threads * values - 1) / (threads * values));
    return cuda::run({"dropout", bfloat16 ? "dropout_bfloat16" : "dropout_float32", blocks, 1, threads}, {x, key}, x.shape(), x.dtype(),
                     {n, int(dropout_threshold(p)), 1 / (1 - p)}, s);
  };
  auto backward = [=](const Arrays& in, const Arrays& cotangents, const Arrays&) {
    return Arrays{drop(cotangents[0], in[1]), mx::zeros_like(in[1], s)};
  };
  return mx::custom_vjp([=](const Arrays& in) { return Arrays{drop(in[0], in[1])}; }, backward)({x, key})[0];
}

}  // namespace m2bert::ops
