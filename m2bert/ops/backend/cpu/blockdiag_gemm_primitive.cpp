#include <mlx/primitives.h>

#include <cstring>

#include "m2bert/error.h"
#include "m2bert/ops/backend/cpu/cpu_backend.h"
#include "m2bert/ops/backend/cpu/float_primitive.h"
#include "m2bert/ops/backend/cpu/simd/blockdiag_gemm_host.h"
#include "m2bert/ops/backend/cpu/simd/column_sum_simd.h"
#include "m2bert/threads.h"

namespace m2bert::ops {

namespace cpu {
namespace {

// Input: x [rows, n]. Output: the sum of the rows, accumulated in float32: the gradient of a bias.
class ColumnSum : public FloatPrimitive<ColumnSum> {
 public:
  explicit ColumnSum(mx::Stream s) : FloatPrimitive(s, "blockdiag_multiply") {}
  const char* name() const override { return "ColumnSum"; }
  bool is_equivalent(const Primitive&) const override { return true; }

  template <class T>
  auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    return [x = in[0].data<T>(), y = out[0].data<T>(), rows = int64_t(in[0].shape(0)), width = int64_t(in[0].shape(1))] {
      column_sums(x, rows, width, y, threads());
    };
  }
};

mx::array column_sum(const mx::array& x, mx::Stream s) {
  return mx::array({x.shape(1)}, x.dtype(), std::make_shared<ColumnSum>(s), {contiguous(x, s)});
}

// The GEMMs and their inputs. M rows, nb blocks of q x p.
enum class Gemm {
  forward,      // (x [M, nb*p], weight, [bias]) -> y [M, nb*q]
  input_grad,   // (dy [M, nb*q], weight) -> dx [M, nb*p]
  weight_grad,  // (dy [M, nb*q], x [M, nb*p]) -> dw [nb, q, p]
};

class BlockdiagGemm : public mx::UnaryPrimitive {
 public:
  BlockdiagGemm(mx::Stream s, Gemm what) : UnaryPrimitive(s), what_(what) {}
  const char* name() const override { return "BlockdiagGemm"; }
  bool is_equivalent(const Primitive& other) const override { return static_cast<const BlockdiagGemm&>(other).what_ == what_; }

  void eval_gpu(const std::vector<mx::array>&, mx::array&) override { fail("[blockdiag_multiply] this kernel runs on the CPU only"); }

  void eval_cpu(const std::vector<mx::array>& in, mx::array& out) override {
    auto& encoder = encode(stream(), in, out);
    const auto& weight = what_ == Gemm::weight_grad ? out : in[1];
    const int64_t nb = weight.shape(0), q = weight.shape(1), p = weight.shape(2);
    const int64_t M = in[0].size() / size_t(nb * (what_ == Gemm::forward ? p : q));
    const BlockSizes sizes{nb, q, p, M};
    encoder.dispatch([what = what_, sizes, first = in[0].data<char>(), second = in[1].data<char>(), y = out.data<char>(),
                      bias = in.size() > 2 ? in[2].data<char>() : nullptr, bytes = out.nbytes(),
                      dtype = out.dtype() == mx::bfloat16 ? HostDtype::bfloat16 : HostDtype::float32] {
      enter_pool();
      if (sizes.M == 0) {
        std::memset(y, 0, bytes);  // the gradient of zero rows
        return;
      }
      switch (what) {
        case Gemm::forward: return blockdiag_forward(dtype, sizes, first, second, bias, y, threads());
        case Gemm::input_grad: return blockdiag_input_grad(dtype, sizes, first, second, y, threads());
        case Gemm::weight_grad: return blockdiag_weight_grad(dtype, sizes, first, second, y, threads());
      }
    });
  }

  std::vector<mx::array> vjp(const std::vector<mx::array>& primals, const std::vector<mx::array>& cotangents,
                             const std::vector<int>& argnums, const std::vector<mx::array>&) override {
    require(what_ == Gemm::forward, "[blockdiag_multiply] has no second derivative; blockdiag_multiply_fallback has one");
    const auto &x = primals[0], &weight = primals[1];
    auto dy = contiguous(cotangents[0], stream());
    std::vector<mx::array> grads;
    for (int argument : argnums) {
      if (argument == 0) {
        grads.push_back(make(x.shape(), Gemm::input_grad, {dy, contiguous(weight, stream())}));
      } else if (argument == 1) {
        grads.push_back(make(weight.shape(), Gemm::weight_grad, {dy, contiguous(x, stream())}));
      } else {
        grads.push_back(column_sum(mx::reshape(dy, {-1, dy.shape(-1)}, stream()), stream()));
      }
    }
    return grads;
  }

 private:
  mx::array make(const mx::Shape& shape, Gemm what, std::vector<mx::array> inputs) {
    auto dtype = inputs[0].dtype();
    return mx::array(shape, dtype, std::make_shared<BlockdiagGemm>(stream(), what), std::move(inputs));
  }

  Gemm what_;
};

mx::array blockdiag_gemm(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias, bool bfloat16_gemm,
                         mx::Stream s) {
  // Falls back to float32 if the CPU has no GEMM of this dtype: MLX's own takes 40 times as long.
  if (x.dtype() == mx::float16 || (x.dtype() == mx::bfloat16 && !bfloat16_gemm)) {
    auto wide = [&](const mx::array& a) { return mx::astype(a, mx::float32, s); };
    const auto y = blockdiag_gemm(wide(x), wide(weight), bias ? std::optional(wide(*bias)) : std::nullopt, bfloat16_gemm, s);
    return mx::astype(y, x.dtype(), s);
  }
  std::vector<mx::array> inputs{contiguous(x, s), contiguous(weight, s)};
  if (bias) inputs.push_back(contiguous(*bias, s));
  auto shape = x.shape();
  shape.back() = weight.shape(0) * weight.shape(1);
  return mx::array(shape, x.dtype(), std::make_shared<BlockdiagGemm>(s, Gemm::forward), std::move(inputs));
}

}  // namespace
}  // namespace cpu

Backend::Array CpuBackend::blockdiag_multiply(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias,
                                              mx::Stream s) const {
  if (x.size() == 0 || weight.size() == 0 || x.dtype() != weight.dtype() || (bias && bias->dtype() != x.dtype())) return {};
  if (!cpu::is_float32_or_bfloat16(x.dtype()) && x.dtype() != mx::float16) return {};
  return cpu::blockdiag_gemm(x, weight, bias, supports_bfloat16_gemm(), s);
}

}  // namespace m2bert::ops
