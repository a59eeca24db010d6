#include "m2bert/ops/backend/cpu/cpu_backend.h"
#include "m2bert/ops/backend/cpu/float_primitive.h"
#include "m2bert/ops/backend/cpu/simd/cross_entropy_simd.h"
#include "m2bert/threads.h"

namespace m2bert::ops {

namespace cpu {
namespace {

// Inputs: x, labels, log_sums, dy.
class CrossEntropyGradient : public FloatPrimitive<CrossEntropyGradient> {
 public:
  explicit CrossEntropyGradient(mx::Stream s) : FloatPrimitive(s, "cross_entropy_rows") {}
  const char* name() const override { return "CrossEntropyGradient"; }
  bool is_equivalent(const Primitive&) const override { return true; }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    return [x = in[0].data<T>(), labels = in[1].data<int32_t>(), log_sums = in[2].data<float>(), dy = in[3].data<float>(),
            dx = out[0].data<T>(), rows = int64_t(in[0].shape(0)),
            classes = int64_t(in[0].shape(1))] { cross_entropy_gradient(x, labels, log_sums, dy, rows, classes, dx, threads()); };
  }
};

// Inputs: x, labels. Outputs: the loss of each row and its log-sum-exp, which the gradient reuses.
class CrossEntropy : public FloatPrimitive<CrossEntropy> {
 public:
  explicit CrossEntropy(mx::Stream s) : FloatPrimitive(s, "cross_entropy_rows") {}
  const char* name() const override { return "CrossEntropy"; }
  bool is_equivalent(const Primitive&) const override { return true; }
  std::vector<mx::array> vjp(const std::vector<mx::array>& in, const std::vector<mx::array>& cotangents, const std::vector<int>&,
                             const std::vector<mx::array>& outputs) override {
    return {mx::array(in[0].shape(), in[0].dtype(), std::make_shared<CrossEntropyGradient>(stream()),
                      {in[0], in[1], outputs[1], float32_contiguous(cotangents[0], stream())})};
  }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    return [x = in[0].data<T>(), labels = in[1].data<int32_t>(), loss = out[0].data<float>(), log_sums = out[1].data<float>(),
            rows = int64_t(in[0].shape(0)),
            classes = int64_t(in[0].shape(1))] { cross_entropy_rows(x, labels, rows, classes, loss, log_sums, threads()); };
  }
};

}  // namespace
}  // namespace cpu

Backend::Array CpuBackend::cross_entropy_rows(const mx::array& x, const mx::array& labels, mx::Stream s) const {
  if (!cpu::supports_rows(x)) return {};
  const mx::Shape rows{x.shape(0)};
  return mx::array::make_arrays({rows, rows}, {mx::float32, mx::float32}, std::make_shared<cpu::CrossEntropy>(s),
                                {cpu::contiguous(x, s), cpu::contiguous(mx::astype(labels, mx::int32, s), s)})[0];
}

}  // namespace m2bert::ops
