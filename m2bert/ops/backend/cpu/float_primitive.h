#pragma once
// What the CPU kernels for float32 and bfloat16 share as MLX primitives.
#include <mlx/primitives.h>

#include "m2bert/error.h"
#include "m2bert/ops/backend/cpu/encode.h"
#include "m2bert/ops/backend/backend.h"

namespace m2bert::ops::cpu {

inline bool float_kernel_takes(mx::Dtype dtype) { return dtype == mx::float32 || dtype == mx::bfloat16; }

// x as a kernel wants it that reads float32 alone.
inline mx::array plain_float(const mx::array& x, mx::Stream s) { return mx::contiguous(mx::astype(x, mx::float32, s), false, s); }

// A primitive of `op` (for errors) whose first input is float32 or bfloat16. Derived has
//   template <class T> auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const
// which gives what is to run with the data; T is float, or uint16_t for bfloat16. With `static constexpr bool kInPlace = true` its one
// output may take the place of the first input where that has the same shape and dtype.
template <class Derived>
class FloatKernel : public mx::Primitive {
 public:
  FloatKernel(mx::Stream s, const char* op) : Primitive(s), op_(op) {}

  void eval_cpu(const std::vector<mx::array>& in, std::vector<mx::array>& out) override {
    bool in_place = false;
    if constexpr (requires { Derived::kInPlace; })
      in_place = in[0].is_donatable() && in[0].shape() == out[0].shape() && in[0].dtype() == out[0].dtype();
    auto& encoder = in_place ? encode_in_place(stream(), in, out[0]) : encode(stream(), in, out);
    if (in[0].dtype() == mx::float32) {
      run<float>(encoder, in, out);
    } else {
      run<uint16_t>(encoder, in, out);
    }
  }
  void eval_gpu(const std::vector<mx::array>&, std::vector<mx::array>&) override { fail("[", op_, "] the kernel runs on the CPU alone"); }

  // A gradient leaves this as it is.
  std::vector<mx::array> vjp(const std::vector<mx::array>&, const std::vector<mx::array>&, const std::vector<int>&,
                             const std::vector<mx::array>&) override {
    fail("[", op_, "] has no second derivative; ", op_, "_fallback has one");
  }

 private:
  template <class T>
  void run(mx::cpu::CommandEncoder& encoder, const std::vector<mx::array>& in, std::vector<mx::array>& out) const {
    encoder.dispatch([task = static_cast<const Derived*>(this)->template task<T>(in, out)] {
      enter_pool();
      task();
    });
  }

  const char* op_;
};

// The outputs of `primitive`, one of the shape and dtype of each of `like`.
inline std::vector<mx::array> arrays_like(const std::vector<mx::array>& like, std::shared_ptr<mx::Primitive> primitive,
                                          const std::vector<mx::array>& inputs) {
  std::vector<mx::Shape> shapes;
  std::vector<mx::Dtype> dtypes;
  for (const auto& a : like) {
    shapes.push_back(a.shape());
    dtypes.push_back(a.dtype());
  }
  return mx::array::make_arrays(std::move(shapes), dtypes, std::move(primitive), inputs);
}

}  // namespace m2bert::ops::cpu
