#include "m2bert/ops/backend/cpu/cpu_backend.h"
#include "m2bert/ops/backend/cpu/float_primitive.h"
#include "m2bert/ops/backend/cpu/simd/long_conv_simd.h"
#include "m2bert/threads.h"

namespace m2bert::ops {

namespace cpu {
namespace {

// The filter in `in`, starting at position k: k, D, (k_rev).
LongConvFilter filter_of(const std::vector<mx::array>& in, size_t k) {
  return {in[k].data<float>(), in.size() > k + 2 ? in[k + 2].data<float>() : nullptr, in[k + 1].data<float>()};
}

// Inputs: dy, then LongConv's inputs. Outputs: their gradients.
class LongConvGradient : public FloatPrimitive<LongConvGradient> {
 public:
  explicit LongConvGradient(mx::Stream s) : FloatPrimitive(s, "long_conv") {}
  const char* name() const override { return "LongConvGradient"; }
  bool is_equivalent(const Primitive&) const override { return true; }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    const LongConvFilterGradient to{out[1].data<float>(), out.size() > 3 ? out[3].data<float>() : nullptr, out[2].data<float>()};
    return [dy = in[0].data<T>(), u = in[1].data<T>(), filter = filter_of(in, 2), du = out[0].data<T>(), to, B = in[0].shape(0),
            L = in[0].shape(1), H = in[0].shape(2)] { long_conv_backward<T>(u, dy, filter, B, L, H, du, to, threads()); };
  }
};

// Inputs: u, k, D, (k_rev).
class LongConv : public FloatPrimitive<LongConv> {
 public:
  explicit LongConv(mx::Stream s) : FloatPrimitive(s, "long_conv") {}
  const char* name() const override { return "LongConv"; }
  bool is_equivalent(const Primitive&) const override { return true; }
  std::vector<mx::array> vjp(const std::vector<mx::array>& in, const std::vector<mx::array>& cotangents, const std::vector<int>& argnums,
                             const std::vector<mx::array>&) override {
    std::vector<mx::array> inputs{contiguous(cotangents[0], stream())};
    inputs.insert(inputs.end(), in.begin(), in.end());
    return gradients_of(argnums, arrays_like(in, std::make_shared<LongConvGradient>(stream()), inputs));
  }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    return [u = in[0].data<T>(), filter = filter_of(in, 1), y = out[0].data<T>(), B = in[0].shape(0), L = in[0].shape(1),
            H = in[0].shape(2)] { long_conv_forward<T>(u, filter, B, L, H, y, threads()); };
  }
};

}  // namespace
}  // namespace cpu

Backend::Array CpuBackend::long_conv(const mx::array& u, const mx::array& k, const std::optional<mx::array>& k_rev, const mx::array& D,
                                     mx::Stream s) const {
  if (!cpu::supports_rows(u) || u.shape(2) % cpu::kChannelBlock != 0) return {};
  std::vector<mx::array> inputs{cpu::contiguous(u, s), cpu::float32_contiguous(k, s),
                                cpu::float32_contiguous(mx::reshape(D, {u.shape(2)}, s), s)};
  if (k_rev) inputs.push_back(cpu::float32_contiguous(*k_rev, s));
  return mx::array(u.shape(), u.dtype(), std::make_shared<cpu::LongConv>(s), std::move(inputs));
}

}  // namespace m2bert::ops
