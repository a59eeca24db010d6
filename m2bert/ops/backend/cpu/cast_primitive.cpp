#include "m2bert/ops/backend/cpu/cpu_backend.h"
#include "m2bert/ops/backend/cpu/float_primitive.h"
#include "m2bert/ops/backend/cpu/simd/cast_simd.h"
#include "m2bert/threads.h"

namespace m2bert::ops {

namespace cpu {
namespace {

mx::array cast(const mx::array& x, mx::Dtype dtype, mx::Stream s);

// Input: x, float32 or bfloat16. The output has the other of the two dtypes.
class Cast : public FloatPrimitive<Cast> {
 public:
  explicit Cast(mx::Stream s) : FloatPrimitive(s, "cast") {}
  const char* name() const override { return "Cast"; }
  bool is_equivalent(const Primitive&) const override { return true; }
  std::vector<mx::array> vjp(const std::vector<mx::array>& in, const std::vector<mx::array>& cotangents, const std::vector<int>&,
                             const std::vector<mx::array>&) override {
    return {cast(cotangents[0], in[0].dtype(), stream())};
  }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    using To = std::conditional_t<std::is_same_v<T, float>, uint16_t, float>;
    return [x = in[0].data<T>(), n = int64_t(in[0].size()), y = out[0].data<To>()] { cast_values(x, n, y, threads()); };
  }
};

mx::array cast(const mx::array& x, mx::Dtype dtype, mx::Stream s) {
  return mx::array(x.shape(), dtype, std::make_shared<Cast>(s), {contiguous(x, s)});
}

}  // namespace
}  // namespace cpu

Backend::Array CpuBackend::cast(const mx::array& x, mx::Dtype dtype, mx::Stream s) const {
  if (!cpu::supports_rows(x) || !cpu::is_float32_or_bfloat16(dtype)) return {};
  return cpu::cast(x, dtype, s);
}

}  // namespace m2bert::ops
