#include "m2bert/error.h"
#include "m2bert/ops/backend/cpu/blockdiag_gemm_primitive.h"
#include "m2bert/ops/backend/backend.h"

#ifdef M2BERT_CPU_KERNELS
#include <mlx/primitives.h>

#include <cstring>

#include "m2bert/ops/backend/cpu/encode.h"
#include "m2bert/ops/backend/cpu/simd/blockdiag_gemm_host.h"
#include "m2bert/ops/backend/cpu/pointwise_primitive.h"
#include "m2bert/threads.h"

namespace m2bert::ops::cpu {

namespace {

// What is computed from which inputs. M rows, nb blocks of q x p.
enum class Product {
  forward,      // (x [M, nb*p], weight, [bias]) -> y [M, nb*q]
  input_grad,   // (dy [M, nb*q], weight) -> dx [M, nb*p]
  weight_grad,  // (dy [M, nb*q], x [M, nb*p]) -> dw [nb, q, p]
};

class BlockdiagGemm : public mx::UnaryPrimitive {
 public:
  BlockdiagGemm(mx::Stream s, Product what) : UnaryPrimitive(s), what_(what) {}
  const char* name() const override { return "BlockdiagGemm"; }
  bool is_equivalent(const Primitive& other) const override { return static_cast<const BlockdiagGemm&>(other).what_ == what_; }

  void eval_gpu(const std::vector<mx::array>&, mx::array&) override { fail("[blockdiag_gemm] runs on the CPU alone"); }

  void eval_cpu(const std::vector<mx::array>& in, mx::array& out) override {
    auto& encoder = encode(stream(), in, out);
    const auto& weight = what_ == Product::weight_grad ? out : in[1];
    const int64_t nb = weight.shape(0), q = weight.shape(1), p = weight.shape(2);
    const int64_t M = in[0].size() / size_t(nb * (what_ == Product::forward ? p : q));
    const BlockSizes sizes{nb, q, p, M};
    encoder.dispatch([what = what_, sizes, first = in[0].data<char>(), second = in[1].data<char>(), y = out.data<char>(),
                      bias = in.size() > 2 ? in[2].data<char>() : nullptr, bytes = out.nbytes(),
                      dtype = out.dtype() == mx::bfloat16 ? HostDtype::bfloat16 : HostDtype::float32] {
      enter_pool();
      if (sizes.M == 0) {
        std::memset(y, 0, bytes);  // the gradient of no rows
        return;
      }
      switch (what) {
        case Product::forward: return blockdiag_forward(dtype, sizes, first, second, bias, y, threads());
        case Product::input_grad: return blockdiag_input_grad(dtype, sizes, first, second, y, threads());
        case Product::weight_grad: return blockdiag_weight_grad(dtype, sizes, first, second, y, threads());
      }
    });
  }

  std::vector<mx::array> vjp(const std::vector<mx::array>& primals, const std::vector<mx::array>& cotangents,
                             const std::vector<int>& argnums, const std::vector<mx::array>&) override {
    require(what_ == Product::forward, "[blockdiag_gemm] has no second derivative");
    const auto &x = primals[0], &weight = primals[1];
    auto dy = mx::contiguous(cotangents[0], false, stream());
    std::vector<mx::array> grads;
    for (int argument : argnums) {
      if (argument == 0) {
        grads.push_back(make(x.shape(), Product::input_grad, {dy, mx::contiguous(weight, false, stream())}));
      } else if (argument == 1) {
        grads.push_back(make(weight.shape(), Product::weight_grad, {dy, mx::contiguous(x, false, stream())}));
      } else {
        grads.push_back(column_sum(mx::reshape(dy, {-1, dy.shape(-1)}, stream()), stream()));
      }
    }
    return grads;
  }

 private:
  mx::array make(const mx::Shape& shape, Product what, std::vector<mx::array> inputs) {
    auto dtype = inputs[0].dtype();
    return mx::array(shape, dtype, std::make_shared<BlockdiagGemm>(stream(), what), std::move(inputs));
  }

  Product what_;
};

}  // namespace

bool blockdiag_gemm_takes(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias) {
  if (x.dtype() != weight.dtype() || (bias && bias->dtype() != x.dtype())) return false;
  return x.size() > 0 && (x.dtype() == mx::float32 || x.dtype() == mx::bfloat16 || x.dtype() == mx::float16);
}

mx::array blockdiag_gemm(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias, mx::Stream s) {
  if (x.dtype() == mx::float16 || (x.dtype() == mx::bfloat16 && !has_bfloat16_gemm())) {
    auto wide = [&](const mx::array& a) { return mx::astype(a, mx::float32, s); };
    return mx::astype(blockdiag_gemm(wide(x), wide(weight), bias ? std::optional(wide(*bias)) : std::nullopt, s), x.dtype(), s);
  }
  std::vector<mx::array> inputs{mx::contiguous(x, false, s), mx::contiguous(weight, false, s)};
  if (bias) inputs.push_back(mx::contiguous(*bias, false, s));
  auto shape = x.shape();
  shape.back() = weight.shape(0) * weight.shape(1);
  return mx::array(shape, x.dtype(), std::make_shared<BlockdiagGemm>(s, Product::forward), std::move(inputs));
}

}  // namespace m2bert::ops::cpu

#else

namespace m2bert::ops::cpu {

bool blockdiag_gemm_takes(const mx::array&, const mx::array&, const std::optional<mx::array>&) { return false; }

mx::array blockdiag_gemm(const mx::array&, const mx::array&, const std::optional<mx::array>&, mx::Stream) {
  fail("[blockdiag_gemm] this build has no oneDNN");
}

}  // namespace m2bert::ops::cpu
#endif
