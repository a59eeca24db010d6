#include "m2bert/ops/backend/cpu/cpu_backend.h"
#include "m2bert/ops/backend/cpu/float_primitive.h"
#include "m2bert/ops/backend/cpu/simd/dropout_simd.h"
#include "m2bert/threads.h"

namespace m2bert::ops {

namespace cpu {
namespace {

mx::array dropout(const mx::array& x, float p, const mx::array& key, mx::Stream s);

// Inputs: x, key. The gradient is the same operation on dy.
class Dropout : public FloatPrimitive<Dropout> {
 public:
  Dropout(mx::Stream s, float p) : FloatPrimitive(s, "dropout"), p_(p) {}
  const char* name() const override { return "Dropout"; }
  bool is_equivalent(const Primitive& other) const override { return static_cast<const Dropout&>(other).p_ == p_; }
  std::vector<mx::array> vjp(const std::vector<mx::array>& in, const std::vector<mx::array>& cotangents, const std::vector<int>&,
                             const std::vector<mx::array>&) override {
    return {dropout(cotangents[0], p_, in[1], stream())};
  }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    return [x = in[0].data<T>(), n = int64_t(in[0].size()), key = in[1].data<uint32_t>(), p = p_, y = out[0].data<T>()] {
      dropout_values(x, n, key, dropout_threshold(p), 1 / (1 - p), y, threads());
    };
  }

 private:
  float p_;
};

mx::array dropout(const mx::array& x, float p, const mx::array& key, mx::Stream s) {
  return mx::array(x.shape(), x.dtype(), std::make_shared<Dropout>(s, p), {contiguous(x, s), contiguous(key, s)});
}

}  // namespace
}  // namespace cpu

Backend::Array CpuBackend::dropout(const mx::array& x, float p, const mx::array& key, mx::Stream s) const {
  if (!cpu::supports_rows(x)) return {};
  return cpu::dropout(x, p, key, s);
}

}  // namespace m2bert::ops
