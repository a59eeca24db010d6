// The error of each operation relative to its definition in float64: prints a table with a row per operation, and columns per dtype for
// the output and the gradient.
//   m2bert-precision [cpu|gpu]
// Random inputs are rounded to the dtype and given to both, so that a figure is the operation's own error: the largest difference, divided
// by the largest value. Definitions run in MLX's float64 on the CPU. Gradients are those of the sum of all values times random weights; the
// definition is differentiated in float64 too, and the worst of all inputs counts.
#include <cmath>
#include <functional>
#include <iomanip>
#include <iostream>
#include <numbers>
#include <optional>
#include <string>
#include <vector>

#include "m2bert/ops/activation.h"
#include "m2bert/ops/attention.h"
#include "m2bert/ops/conv1d.h"
#include "m2bert/ops/dense.h"
#include "m2bert/ops/dropout.h"
#include "m2bert/ops/layer_norm.h"
#include "m2bert/ops/linear.h"
#include "m2bert/ops/long_conv.h"
#include "m2bert/ops/low_rank.h"
#include "m2bert/ops/monarch.h"
#include "m2bert/ops/monarch_factor.h"
#include "m2bert/ops/monarch_mix.h"
#include "m2bert/ops/rearrange.h"
#include "m2bert/ops/softmax_dropout.h"
#include "m2bert/ops/varlen_attention.h"

namespace m2bert {
namespace {

using Arrays = std::vector<mx::array>;
using Function = std::function<mx::array(const Arrays&)>;

struct Case {
  std::string name;
  std::vector<mx::Shape> shapes;
  Function op, definition;
  bool has_gradient = true;
};

// ---- definitions, in the dtype of their inputs ----
mx::array number(double value, const mx::array& like) { return mx::array(value, like.dtype()); }

mx::array columns(const mx::array& x, int from, int to) {
  mx::Shape start(x.ndim(), 0), stop = x.shape();
  start.back() = from, stop.back() = to;
  return mx::slice(x, start, stop);
}

mx::array gelu(const mx::array& x) { return x * number(0.5, x) * (number(1, x) + mx::erf(x * number(std::numbers::sqrt2 / 2, x))); }

mx::array layer_norm(const mx::array& x, const mx::array& weight, const mx::array& bias) {
  const mx::array centred = x - mx::mean(x, -1, true);
  return centred / mx::sqrt(mx::mean(mx::square(centred), -1, true) + number(1e-12, x)) * weight + bias;
}

// The matrices [d, L, L] of a long convolution: k[t - s] at and below the diagonal, k_rev[s - t - 1] above it, D on it.
mx::array long_conv(const mx::array& u_bld, const mx::array& k_ld, const mx::array& k_rev_ld, const mx::array& D_d) {
  const int L = u_bld.shape(1);
  const mx::array place = mx::arange(0, L);
  const mx::array lag = mx::expand_dims(place, 1) - mx::expand_dims(place, 0);  // t - s
  const mx::array past = mx::take(k_ld, mx::maximum(lag, mx::array(0)), 0),
                  future = mx::take(k_rev_ld, mx::maximum(-lag - 1, mx::array(0)), 0);
  const mx::array is_past = mx::expand_dims(mx::greater_equal(lag, mx::array(0)), 2);
  const mx::array matrices = mx::transpose(mx::where(is_past, past, future), {2, 0, 1});
  return mx::transpose(mx::matmul(matrices, mx::transpose(u_bld, {2, 1, 0})), {2, 1, 0}) + D_d * u_bld;
}

mx::array short_conv(const mx::array& x_blc, const mx::array& weight, const mx::array& bias) {
  mx::array y = mx::broadcast_to(bias, x_blc.shape());
  const int L = x_blc.shape(1), K = weight.shape(2);
  const mx::array padded = mx::pad(x_blc, {{0, 0}, {K - 1, 0}, {0, 0}}, number(0, x_blc));
  for (int j = 0; j < K; ++j) {
    const mx::array tap = mx::flatten(mx::slice(weight, {0, 0, j}, {weight.shape(0), 1, j + 1}));
    y = y + tap * mx::slice(padded, {0, j, 0}, {x_blc.shape(0), j + L, x_blc.shape(2)});
  }
  return y;
}

// 3 taps, padding 1; weight [out, in, 3].
mx::array conv1d(const mx::array& x_blc, const mx::array& weight, const mx::array& bias) {
  const int L = x_blc.shape(1);
  const mx::array padded = mx::pad(x_blc, {{0, 0}, {1, 1}, {0, 0}}, number(0, x_blc));
  mx::array y = bias;
  for (int j = 0; j < 3; ++j) {
    const mx::array tap = mx::squeeze(mx::slice(weight, {0, 0, j}, {weight.shape(0), weight.shape(1), j + 1}), 2);
    y = y + mx::matmul(mx::slice(padded, {0, j, 0}, {x_blc.shape(0), j + L, x_blc.shape(2)}), mx::transpose(tap));
  }
  return y;
}

mx::array attention(const mx::array& q, const mx::array& k, const mx::array& v, const mx::array& bias) {
  const mx::array scores = mx::matmul(q, mx::swapaxes(k, -1, -2)) * number(1 / std::sqrt(double(q.shape(-1))), q);
  return mx::matmul(mx::softmax(scores + bias, -1, true), v);
}

// The nearest matrix of the given rank, over the last two axes.
mx::array nearest_of_rank(const mx::array& matrices, int rank) {
  const auto usv = mx::linalg::svd(matrices, true, mx::Device::cpu);
  const int m = matrices.shape(-2), n = matrices.shape(-1);
  mx::Shape u_stop = matrices.shape(), vt_stop = matrices.shape(), s_stop(matrices.shape().begin(), matrices.shape().end() - 1);
  u_stop.back() = rank, u_stop[u_stop.size() - 2] = m, vt_stop.back() = n, vt_stop[vt_stop.size() - 2] = rank, s_stop.back() = rank;
  const mx::array u = mx::slice(usv[0], mx::Shape(u_stop.size(), 0), u_stop), vt = mx::slice(usv[2], mx::Shape(vt_stop.size(), 0), vt_stop);
  return mx::matmul(u * mx::expand_dims(mx::slice(usv[1], mx::Shape(s_stop.size(), 0), s_stop), -2), vt);
}

// The nearest Monarch matrix of 16 x 16 blocks: each of the sub-matrices (k, q) of rows p * 16 + k and columns q * 16 + s has rank 1.
mx::array nearest_monarch(const mx::array& m) {
  const mx::array parts = mx::transpose(mx::reshape(m, {16, 16, 16, 16}), {1, 2, 0, 3});  // [p, k, q, s] -> [k, q, p, s]
  return mx::reshape(mx::transpose(nearest_of_rank(parts, 1), {2, 0, 1, 3}), {256, 256});
}

// Real and imaginary part of the Fourier transform of n points, divided by sqrt(n).
mx::array fourier(const mx::array& x) {
  const int n = x.shape(-1);
  const mx::array place = mx::arange(0, n);
  const mx::array turns = mx::remainder(mx::expand_dims(place, 1) * mx::expand_dims(place, 0), mx::array(n));
  const mx::array angle = mx::astype(turns, x.dtype()) * number(2 * std::numbers::pi / n, x), scale = number(1 / std::sqrt(double(n)), x);
  return mx::concatenate({mx::matmul(x, mx::cos(angle) * scale), mx::matmul(x, mx::sin(angle) * -scale)}, -1);
}

std::vector<Case> cases() {
  const int L = 256, d = 16, H = 48;
  const std::vector<mx::Shape> conv{{2, L, d}, {L, d}, {L, d}, {d}};
  const std::vector<mx::Shape> mixer{{2, L, 3 * H}, {2, L, H}, {3 * H, 1, 3}, {3 * H}, {L, H}, {L, H}, {H}, {L, H}, {L, H}, {H}};
  const std::vector<mx::Shape> qkv(3, {2, 4, 128, 64});
  return {
      {"`linear`, 768 to 768",
       {{256, 768}, {768, 768}, {768}},
       [](const Arrays& a) { return ops::linear(a[0], a[1], a[2]); },
       [](const Arrays& a) { return mx::matmul(a[0], mx::transpose(a[1])) + a[2]; }},
      {"`blockdiag_multiply`, 4 blocks of 192 to 192",
       {{256, 768}, {4, 192, 192}},
       [](const Arrays& a) { return ops::blockdiag_multiply(a[0], a[1]); },
       [](const Arrays& a) {
         const mx::array blocks = mx::reshape(a[0], {256, 4, 192, 1});
         return mx::reshape(mx::matmul(a[1], blocks), {256, 768});
       }},
      {"`blockdiag_butterfly_multiply`, 256 by 16 x 16 blocks",
       {{128, 256}, {16, 16, 16}, {16, 16, 16}},
       [](const Arrays& a) { return ops::blockdiag_butterfly_multiply(a[0], a[1], a[2]); },
       [](const Arrays& a) {
         const mx::array z = mx::matmul(mx::reshape(a[0], {128, 16, 1, 16}), mx::swapaxes(a[1], -1, -2));  // [row, k, 1, q]
         const mx::array by_remainder = mx::expand_dims(mx::transpose(mx::squeeze(z, 2), {0, 2, 1}), 2);   // [row, b, 1, j]
         const mx::array y = mx::squeeze(mx::matmul(by_remainder, mx::swapaxes(a[2], -1, -2)), 2);         // [row, b, i]
         return mx::reshape(mx::swapaxes(y, 1, 2), {128, 256});
       }},
      {"`butterfly_fft`, 256 points",
       {{128, 256}},
       [](const Arrays& a) {
         const mx::array y = ops::butterfly_fft(a[0]);
         return mx::concatenate({mx::real(y), mx::imag(y)}, -1);
       },
       [](const Arrays& a) { return fourier(a[0]); }},
      {"`low_rank_project`, 256 x 256 to rank 32, its product",
       {{256, 256}},
       [](const Arrays& a) {
         const auto [u, vt] = ops::low_rank_project(a[0], 32);
         return mx::matmul(mx::astype(u, mx::float32), mx::astype(vt, mx::float32));
       },
       [](const Arrays& a) { return nearest_of_rank(a[0], 32); },
       false},
      {"`blockdiag_butterfly_project`, 256 x 256, its matrix",
       {{256, 256}},
       [](const Arrays& a) {
         const ops::ButterflyPair w = ops::blockdiag_butterfly_project(a[0]);
         return ops::blockdiag_butterfly_to_dense(mx::astype(w.w1, mx::float32), mx::astype(w.w2, mx::float32));
       },
       [](const Arrays& a) { return nearest_monarch(a[0]); },
       false},
      {"`reduce`, mean over 512",
       {{4, 512, 64}},
       [](const Arrays& a) { return ops::reduce(a[0], "b l d -> b d", ops::Reduction::mean); },
       [](const Arrays& a) { return mx::mean(a[0], 1); }},
      {"`long_conv`, L 256, both directions", conv, [](const Arrays& a) { return ops::long_conv(a[0], a[1], a[2], a[3]); },
       [](const Arrays& a) { return long_conv(a[0], a[1], a[2], a[3]); }},
      {"`conv1d`, 3 taps, 64 to 64 channels",
       {{2, 256, 64}, {64, 64, 3}, {64}},
       [](const Arrays& a) { return ops::conv1d(a[0], a[1], a[2], {.padding = 1}); },
       [](const Arrays& a) { return conv1d(a[0], a[1], a[2]); }},
      {"`conv1d_fft`, the same",
       {{2, 256, 64}, {64, 64, 3}, {64}},
       [](const Arrays& a) { return ops::conv1d_fft(a[0], a[1], a[2], {.padding = 1}); },
       [](const Arrays& a) { return conv1d(a[0], a[1], a[2]); }},
      {"`depthwise_conv1d_causal`, 3 taps",
       {{2, 256, 768}, {768, 1, 3}, {768}},
       [](const Arrays& a) { return ops::depthwise_conv1d_causal(a[0], a[1], a[2]); },
       [](const Arrays& a) { return short_conv(a[0], a[1], a[2]); }},
      {"`monarch_mix`, L 256, both directions, residual", mixer,
       [](const Arrays& a) {
         return ops::monarch_mix(a[0], a[1], a[2], a[3], {.k = a[4], .D = a[6], .k_rev = a[5], .k2 = a[7], .D2 = a[9], .k2_rev = a[8]});
       },
       [](const Arrays& a) {
         const mx::array p = short_conv(a[0], a[2], a[3]);
         const mx::array x1 = columns(p, 0, H), x2 = columns(p, H, 2 * H), v = columns(p, 2 * H, 3 * H);
         return x2 * long_conv(x1 * v, a[4], a[5], a[6]) + long_conv(a[1], a[7], a[8], a[9]);
       }},
      {"`scaled_dot_product_attention`, 128 keys",
       {qkv[0], qkv[1], qkv[2], {2, 1, 1, 128}},
       [](const Arrays& a) { return ops::scaled_dot_product_attention(a[0], a[1], a[2], {.bias = a[3]}); },
       [](const Arrays& a) { return attention(a[0], a[1], a[2], a[3]); }},
      {"`attention`, 128 keys",
       {qkv[0], qkv[1], qkv[2], {2, 1, 1, 128}},
       [](const Arrays& a) { return ops::attention(a[0], a[1], a[2], a[3]); },
       [](const Arrays& a) { return attention(a[0], a[1], a[2], a[3]); }},
      {"`attention_varlen`, 100 and 28 rows",
       {{128, 4, 64}, {128, 4, 64}, {128, 4, 64}},
       [](const Arrays& a) {
         const ops::CuSeqlens cu(std::vector<int>{0, 100, 128});
         return ops::attention_varlen(a[0], a[1], a[2], cu, cu);
       },
       [](const Arrays& a) {
         Arrays sequences;
         for (auto [from, to] : {std::pair(0, 100), std::pair(100, 128)}) {
           Arrays qkv;
           for (const mx::array& x : a) qkv.push_back(mx::swapaxes(mx::slice(x, {from, 0, 0}, {to, 4, 64}), 0, 1));
           sequences.push_back(mx::swapaxes(attention(qkv[0], qkv[1], qkv[2], number(0, a[0])), 0, 1));
         }
         return mx::concatenate(sequences, 0);
       }},
      {"`fused_softmax_dropout`, 128 keys, p = 0",
       {{2, 4, 128, 128}, {2, 128}},
       [](const Arrays& a) { return ops::fused_softmax_dropout(a[0], 0, a[1], std::nullopt); },
       [](const Arrays& a) { return mx::softmax(a[0] + mx::reshape(a[1], {2, 1, 1, 128}), -1); }},
      {"`fused_dense_gelu`, 768 to 768",
       {{256, 768}, {768, 768}, {768}},
       [](const Arrays& a) { return ops::fused_dense_gelu(a[0], a[1], a[2]); },
       [](const Arrays& a) { return gelu(mx::matmul(a[0], mx::transpose(a[1])) + a[2]); }},
      {"`fused_bias_dropout_add`, p = 0.1",
       {{256, 768}, {768}, {256, 768}},
       [](const Arrays& a) { return ops::fused_bias_dropout_add(a[0], a[1], a[2], 0.1f, mx::random::key(5)); },
       [](const Arrays& a) {
         const mx::array mask = mx::astype(ops::dropout_kept(a[0].shape(), 0.1f, mx::random::key(5)), a[0].dtype());
         return (a[0] + a[1]) * mask / number(1 - double(0.1f), a[0]) + a[2];
       }},
      {"`layer_norm`, 768 values",
       {{256, 768}, {768}, {768}},
       [](const Arrays& a) { return ops::layer_norm(a[0], std::nullopt, a[1], a[2], 1e-12f); },
       [](const Arrays& a) { return layer_norm(a[0], a[1], a[2]); }},
      {"`gelu`", {{256, 768}}, [](const Arrays& a) { return ops::gelu(a[0]); }, [](const Arrays& a) { return gelu(a[0]); }},
      {"`gelu_gate`",
       {{256, 1536}},
       [](const Arrays& a) { return ops::gelu_gate(a[0]); },
       [](const Arrays& a) { return gelu(columns(a[0], 0, 768)) * columns(a[0], 768, 1536); }},
  };
}

// ---- measuring ----
double difference(const mx::array& ours, const mx::array& exact) {
  const mx::array a = mx::astype(ours, mx::float64), b = mx::astype(exact, mx::float64);
  return mx::divide(mx::max(mx::abs(a - b)), mx::max(mx::abs(b))).item<double>();
}

Arrays gradients(const Function& f, const Arrays& inputs, const mx::array& weights) {
  std::vector<int> all(inputs.size());
  for (size_t i = 0; i < all.size(); ++i) all[i] = int(i);
  return mx::grad(
      [&](const Arrays& in) {
        const mx::array y = f(in);
        return mx::sum(y * mx::astype(weights, y.dtype()));
      },
      all)(inputs);
}

struct Figures {
  double value;
  std::optional<double> gradient;
};

Figures measure(const Case& c, mx::Dtype dtype) {
  Arrays inputs, wide;
  for (size_t i = 0; i < c.shapes.size(); ++i) {
    inputs.push_back(mx::astype(mx::random::normal(c.shapes[i], mx::float32, 0, 1, mx::random::key(i + 1)), dtype));
    wide.push_back(mx::astype(inputs.back(), mx::float64, mx::Device::cpu));
  }
  const mx::array ours = c.op(inputs);
  const mx::array weights = mx::astype(mx::random::normal(ours.shape(), mx::float32, 0, 1, mx::random::key(99)), dtype);
  const Arrays grads = c.has_gradient ? gradients(c.op, inputs, weights) : Arrays{};
  mx::eval(ours, weights), mx::eval(grads);

  const mx::Device device = mx::default_device();
  mx::set_default_device(mx::Device::cpu);  // the only device with float64
  Figures figures{difference(ours, c.definition(wide)), std::nullopt};
  if (c.has_gradient) {
    const Arrays exact = gradients(c.definition, wide, mx::astype(weights, mx::float64));
    for (size_t i = 0; i < grads.size(); ++i) figures.gradient = std::max(figures.gradient.value_or(0), difference(grads[i], exact[i]));
  }
  mx::set_default_device(device);
  return figures;
}

}  // namespace
}  // namespace m2bert

int main(int argc, char** argv) {
  using namespace m2bert;
  mx::set_default_device(argc > 1 && std::string(argv[1]) == "gpu" ? mx::Device::gpu : mx::Device::cpu);
  std::cout << "| operation | float32 | its gradient | bfloat16 | its gradient | float16 | its gradient |\n"
            << "| --- | --- | --- | --- | --- | --- | --- |\n"
            << std::scientific << std::setprecision(1);
  for (const Case& c : cases()) {
    std::cout << "| " << c.name;
    for (mx::Dtype dtype : {mx::float32, mx::bfloat16, mx::float16}) {
      const Figures f = measure(c, dtype);
      std::cout << " | " << f.value << " | ";
      if (f.gradient) std::cout << *f.gradient;
      else std::cout << "none";
    }
    std::cout << " |" << std::endl;
  }
}
