#include <cmath>

#include "m2bert/ops/backend/cuda/cuda_backend.h"
#include "m2bert/ops/backend/cuda/kernel.h"

namespace m2bert::ops {

namespace {
constexpr int THREADS = 256;
int blocks_of(size_t n) { return int((n + THREADS - 1) / THREADS); }
}  // namespace

bool CudaBackend::adamw_update(const std::vector<AdamWParameter>& parameters, const AdamWOptions& o, mx::Stream s) const {
  std::vector<mx::array> made;
  for (const auto& p : parameters) {
    const int n = int(p.value->size());
    if (n == 0) continue;
    const float rate = float(p.learning_rate / bias_correction(o.beta1, o.step));
    const float root = float(1 / std::sqrt(bias_correction(o.beta2, o.step)));
    const auto out = cuda::run({"adamw", "adamw", blocks_of(size_t(n)), 1, THREADS}, {*p.value, *p.gradient, *p.m, *p.v},
                               std::vector(3, p.value->shape()), std::vector(3, mx::float32),
                               {n, float(o.gradient_scale), float(o.gradient_limit), float(o.beta1), float(o.beta2), float(o.eps),
                                float(1 - p.decay), rate, root},
                               s);
    *p.value = out[0], *p.m = out[1], *p.v = out[2];
    made.insert(made.end(), out.begin(), out.end());
  }
  mx::eval(made);
  return true;
}

std::optional<double> CudaBackend::global_norm(const std::vector<mx::array>& arrays, mx::Stream s) const {
  std::vector<mx::array> sums;
  for (const auto& a : arrays) {
    if (a.size() == 0) continue;
    const int blocks = std::min(blocks_of(a.size()), 256);
    sums.push_back(cuda::run({"adamw", "sum_of_squares", blocks, 1, THREADS, THREADS / 8}, {a}, {blocks}, mx::float32, {int(a.size())}, s));
  }
  mx::eval(sums);
  mx::synchronize(s);
  double total = 0;
  for (const auto& sum : sums) {
    for (size_t i = 0; i < sum.size(); ++i) total += sum.data<float>()[i];
  }
  return std::sqrt(total);
}

}  // namespace m2bert::ops
