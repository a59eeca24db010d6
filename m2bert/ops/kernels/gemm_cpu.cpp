#include "m2bert/error.h"
#include "m2bert/ops/kernels/gemm.h"
#include "m2bert/ops/kernels/kernel.h"

#ifdef M2BERT_CPU_KERNELS
#include <cblas.h>
#include <mlx/primitives.h>

#include <cstring>
#include <dnnl.hpp>
#include <map>
#include <tuple>
#include <unordered_map>

#include "m2bert/ops/kernels/encode.h"

namespace m2bert::ops::kernels {

namespace {

// What is computed from which inputs. M rows, nb blocks of q x p.
enum class Product {
  forward,      // (x [M, nb*p], weight, [bias]) -> y [M, nb*q]
  input_grad,   // (dy [M, nb*q], weight) -> dx [M, nb*p]
  weight_grad,  // (dy [M, nb*q], x [M, nb*p]) -> dw [nb, q, p]
};

using dnnl::memory;

dnnl::engine& engine() {
  static dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

// A matrix inside a buffer: element (i, j) at i * row + j * column.
struct Matrix {
  int64_t rows, columns, row_stride, column_stride;
  bool operator<(const Matrix& o) const {
    return std::tie(rows, columns, row_stride, column_stride) < std::tie(o.rows, o.columns, o.row_stride, o.column_stride);
  }
  memory::desc desc(memory::data_type type) const { return memory::desc({rows, columns}, type, {row_stride, column_stride}); }
};

// c = a b [+ bias]. Made once a shape and thread: making one costs more than a small product.
const dnnl::matmul& product(const Matrix& a, const Matrix& b, const Matrix& c, memory::data_type type, bool with_bias) {
  using Key = std::tuple<Matrix, Matrix, Matrix, int, bool>;
  static thread_local std::map<Key, dnnl::matmul> made;
  const Key key{a, b, c, int(type), with_bias};
  if (auto it = made.find(key); it != made.end()) return it->second;
  if (made.size() > 512) made.clear();  // unpadded batches bring a new number of rows each
  const memory::desc bias({1, c.columns}, type, memory::format_tag::ab);
#if DNNL_VERSION_MAJOR >= 3
  auto desc = with_bias ? dnnl::matmul::primitive_desc(engine(), a.desc(type), b.desc(type), bias, c.desc(type))
                        : dnnl::matmul::primitive_desc(engine(), a.desc(type), b.desc(type), c.desc(type));
#else
  auto what = with_bias ? dnnl::matmul::desc(a.desc(type), b.desc(type), bias, c.desc(type))
                        : dnnl::matmul::desc(a.desc(type), b.desc(type), c.desc(type));
  dnnl::matmul::primitive_desc desc(what, engine());
#endif
  return made.emplace(key, dnnl::matmul(desc)).first->second;
}

void run(const Matrix& a, const char* a_at, const Matrix& b, const char* b_at, const Matrix& c, char* c_at, const char* bias_at,
         memory::data_type type) {
  static thread_local dnnl::stream line(engine());
  auto view = [&](const Matrix& m, const char* at) { return memory(m.desc(type), engine(), const_cast<char*>(at)); };
  std::unordered_map<int, memory> arguments{
      {DNNL_ARG_SRC, view(a, a_at)}, {DNNL_ARG_WEIGHTS, view(b, b_at)}, {DNNL_ARG_DST, view(c, c_at)}};
  if (bias_at) {
    arguments.emplace(DNNL_ARG_BIAS,
                      memory(memory::desc({1, c.columns}, type, memory::format_tag::ab), engine(), const_cast<char*>(bias_at)));
  }
  product(a, b, c, type, bias_at != nullptr).execute(line, arguments);
  line.wait();
}

// dw [q, p] = dy^T x of one block, for many rows of dy [M, q] and x [M, p] that lie far apart: oneDNN takes twice as long as OpenBLAS for
// it (M = 2048, 4 blocks of 768 x 192), and 7 times for small blocks.
void narrow_weight_grad(const Matrix& dy, const char* dy_at, const Matrix& x, const char* x_at, char* dw_at) {
  auto floats = [](const char* at) { return reinterpret_cast<const float*>(at); };
  cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, int(dy.columns), int(x.columns), int(x.rows), 1, floats(dy_at), int(dy.row_stride),
              floats(x_at), int(x.row_stride), 0, reinterpret_cast<float*>(dw_at), int(x.columns));
}

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
    encoder.dispatch([what = what_, nb, q, p, M, first = in[0].data<char>(), second = in[1].data<char>(), y = out.data<char>(),
                      bias = in.size() > 2 ? in[2].data<char>() : nullptr, size = int64_t(out.itemsize()), bytes = out.nbytes(),
                      type = out.dtype() == mx::bfloat16 ? memory::data_type::bf16 : memory::data_type::f32] {
      enter_pool();
      if (M == 0) {
        std::memset(y, 0, bytes);  // the gradient of no rows
        return;
      }
      const Matrix x{M, p, nb * p, 1}, dy{M, q, nb * q, 1}, dy_t{q, M, 1, nb * q}, w{q, p, p, 1}, w_t{p, q, 1, p};
      const bool narrow = nb > 1 && M > 64 && type == memory::data_type::f32;
      for (int64_t k = 0; k < nb; ++k) {
        const int64_t at_x = k * p * size, at_y = k * q * size, at_w = k * q * p * size;
        switch (what) {
          case Product::forward: run(x, first + at_x, w_t, second + at_w, dy, y + at_y, bias ? bias + at_y : nullptr, type); break;
          case Product::input_grad: run(dy, first + at_y, w, second + at_w, x, y + at_x, nullptr, type); break;
          case Product::weight_grad:
            if (narrow) {
              narrow_weight_grad(dy, first + at_y, x, second + at_x, y + at_w);
            } else {
              run(dy_t, first + at_y, x, second + at_x, w, y + at_w, nullptr, type);
            }
            break;
        }
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
        grads.push_back(mx::sum(mx::reshape(dy, {-1, dy.shape(-1)}, stream()), 0, false, stream()));
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

}  // namespace m2bert::ops::kernels

#else

namespace m2bert::ops::kernels {

bool blockdiag_gemm_takes(const mx::array&, const mx::array&, const std::optional<mx::array>&) { return false; }

mx::array blockdiag_gemm(const mx::array&, const mx::array&, const std::optional<mx::array>&, mx::Stream) {
  fail("[blockdiag_gemm] this build has no oneDNN");
}

}  // namespace m2bert::ops::kernels
#endif
