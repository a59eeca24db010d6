#pragma once
// The common base of the CPU's MLX primitives for float32 and bfloat16.
#include <mlx/primitives.h>

#include "m2bert/error.h"
#include "m2bert/ops/backend/cpu/encode.h"
#include "m2bert/ops/backend/cpu/thread_pool.h"

namespace m2bert::ops::cpu {

inline bool is_float32_or_bfloat16(mx::Dtype dtype) { return dtype == mx::float32 || dtype == mx::bfloat16; }

// Whether kernels over rows support x: float32 or bfloat16, and not empty.
inline bool supports_rows(const mx::array& x) { return x.size() > 0 && is_float32_or_bfloat16(x.dtype()); }

inline mx::array contiguous(const mx::array& x, mx::Stream s) { return mx::contiguous(x, false, s); }

// x for a kernel that reads only float32.
inline mx::array float32_contiguous(const mx::array& x, mx::Stream s) { return mx::contiguous(mx::astype(x, mx::float32, s), false, s); }

// A primitive of the operation `op` (named in errors) whose first input is float32 or bfloat16. Derived has
//   template <class T> auto task(const std::vector<mx::array>& in, std::vector<mx::array>& out) const
// which returns the function to run on the data; T is float, or uint16_t for bfloat16. With `static constexpr bool kInPlace = true` its one
// output may reuse the memory of the first input if both have the same shape and dtype.
template <class Derived>
class FloatPrimitive : public mx::Primitive {
 public:
  FloatPrimitive(mx::Stream s, const char* op) : Primitive(s), op_(op) {}

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
  void eval_gpu(const std::vector<mx::array>&, std::vector<mx::array>&) override { fail("[", op_, "] this kernel runs on the CPU only"); }

  // Primitives that are gradients themselves do not override this.
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

// A primitive with packed weights, for inference: differentiating it throws an error that says what to do.
template <class Derived>
class PackedPrimitive : public FloatPrimitive<Derived> {
 public:
  PackedPrimitive(mx::Stream s, const char* op) : FloatPrimitive<Derived>(s, op), op_(op) {}
  std::vector<mx::array> vjp(const std::vector<mx::array>&, const std::vector<mx::array>&, const std::vector<int>&,
                             const std::vector<mx::array>&) override {
    fail("[", op_, "] packed weights have no gradient; use the weights themselves (Model::unpack)");
  }

 private:
  const char* op_;
};

// The outputs of `primitive`, with the shapes and dtypes of `like`.
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

// The gradients that a vjp must return, out of those of all inputs.
inline std::vector<mx::array> gradients_of(const std::vector<int>& argnums, const std::vector<mx::array>& all) {
  std::vector<mx::array> wanted;
  for (int argument : argnums) wanted.push_back(all[size_t(argument)]);
  return wanted;
}

}  // namespace m2bert::ops::cpu
