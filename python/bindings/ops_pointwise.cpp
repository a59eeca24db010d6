// m2bert.ops: activations, norm, dropout, casts and cross entropy.
#include "m2bert/ops/activation.h"
#include "m2bert/ops/cast.h"
#include "m2bert/ops/cross_entropy.h"
#include "m2bert/ops/dropout.h"
#include "m2bert/ops/layer_norm.h"
#include "m2bert/ops/softmax_dropout.h"
#include "python/bindings/ops.h"

namespace m2bert::python {
namespace {

void bind_activations(nb::module_& m) {
  const auto stream = stream_argument();
  m.def("gelu", &ops::gelu, "x"_a, nb::kw_only(), stream,
        "x Phi(x) with the error function, for x of any shape.\n\n"
        ">>> m2bert.ops.gelu(mx.zeros((2,))).tolist()\n"
        "[0.0, 0.0]");
  m.def("gelu_fallback", &ops::gelu_fallback, "x"_a, nb::kw_only(), stream, "gelu, composed of MLX's operations.");
  m.def("gelu_tanh", &ops::gelu_tanh, "x"_a, nb::kw_only(), stream,
        "The tanh approximation of gelu.\n\n"
        ">>> m2bert.ops.gelu_tanh(mx.zeros((2,))).tolist()\n"
        "[0.0, 0.0]");
  m.def("gelu_tanh_fallback", &ops::gelu_tanh_fallback, "x"_a, nb::kw_only(), stream, "gelu_tanh, composed of MLX's operations.");
  m.def("gelu_gate", &ops::gelu_gate, "x"_a, nb::kw_only(), stream,
        "gelu(x[..., :I]) * x[..., I:] for x [..., 2 I]; the result is [..., I].\n\n"
        ">>> m2bert.ops.gelu_gate(mx.ones((3, 8))).shape\n"
        "(3, 4)");
  m.def("gelu_gate_fallback", &ops::gelu_gate_fallback, "x"_a, nb::kw_only(), stream, "gelu_gate, composed of MLX's operations.");
  m.def("cast", &ops::cast, "x"_a, "dtype"_a, nb::kw_only(), stream,
        "x as another floating dtype, rounded to nearest, ties to even.\n\n"
        ">>> m2bert.ops.cast(mx.ones((2,)), mx.bfloat16).dtype\n"
        "mlx.core.bfloat16");
  m.def("cast_fallback", &ops::cast_fallback, "x"_a, "dtype"_a, nb::kw_only(), stream, "cast, composed of MLX's operations.");
}

void bind_norm_and_loss(nb::module_& m) {
  const auto stream = stream_argument();
  m.def("layer_norm", &ops::layer_norm, "x"_a, "residual"_a.none(), "weight"_a, "bias"_a, "eps"_a, nb::kw_only(), stream,
        "(s - mean) / sqrt(var + eps) * weight + bias over the last axis, s = x + residual; x, residual [..., n] (or None), weight, bias "
        "[n].\n\n"
        ">>> m2bert.ops.layer_norm(mx.ones((2, 4)), None, mx.ones((4,)), mx.zeros((4,)), 1e-12).tolist()[0]\n"
        "[0.0, 0.0, 0.0, 0.0]");
  m.def("layer_norm_fallback", &ops::layer_norm_fallback, "x"_a, "residual"_a.none(), "weight"_a, "bias"_a, "eps"_a, nb::kw_only(), stream,
        "layer_norm, composed of MLX's operations.");
  m.def("cross_entropy_rows", &ops::cross_entropy_rows, "x"_a, "labels"_a, nb::kw_only(), stream,
        "-log softmax(x)[label] of each row: x [rows, classes], labels [rows]; the result is float32 [rows].\n\n"
        ">>> loss = m2bert.ops.cross_entropy_rows(mx.zeros((1, 2)), mx.array([0]))\n"
        ">>> round(loss.item(), 4)\n"
        "0.6931");
  m.def("cross_entropy_rows_fallback", &ops::cross_entropy_rows_fallback, "x"_a, "labels"_a, nb::kw_only(), stream,
        "cross_entropy_rows, composed of MLX's operations.");
}

void bind_dropout(nb::module_& m) {
  const auto stream = stream_argument();
  m.def("dropout", &ops::dropout, "x"_a, "p"_a, "key"_a, nb::kw_only(), stream,
        "Sets each value to 0 with probability p and divides the others by 1 - p. key: from mx.random.key; the same key drops the same.\n\n"
        ">>> m2bert.ops.dropout(mx.ones((4,)), 0.5, mx.random.key(1)).shape\n"
        "(4,)");
  m.def("dropout_fallback", &ops::dropout_fallback, "x"_a, "p"_a, "key"_a, nb::kw_only(), stream, "dropout, composed of MLX's operations.");
  m.def(
      "dropout_kept",
      [](const std::vector<int>& shape, float p, const mx::array& key, Stream s) {
        return ops::dropout_kept(mx::Shape(shape.begin(), shape.end()), p, key, s);
      },
      "shape"_a, "p"_a, "key"_a, nb::kw_only(), stream,
      "Which values dropout keeps: bool of this shape.\n\n"
      ">>> m2bert.ops.dropout_kept([2, 3], 0.5, mx.random.key(1)).dtype\n"
      "mlx.core.bool");
  m.def("fused_dropout_add", &ops::fused_dropout_add, "x"_a, "residual"_a, "p"_a, "key"_a.none(), nb::kw_only(), stream,
        "dropout(x, p) + residual, both of one shape. key None: no dropout.\n\n"
        ">>> m2bert.ops.fused_dropout_add(mx.ones((2,)), mx.ones((2,)), 0.1, None).tolist()\n"
        "[2.0, 2.0]");
  m.def("fused_bias_dropout_add", &ops::fused_bias_dropout_add, "x"_a, "bias"_a, "residual"_a, "p"_a, "key"_a.none(), nb::kw_only(), stream,
        "dropout(x + bias, p) + residual: x, residual [..., n], bias [n].\n\n"
        ">>> m2bert.ops.fused_bias_dropout_add(mx.ones((1, 2)), mx.ones((2,)), mx.ones((1, 2)), 0.1, None).tolist()\n"
        "[[3.0, 3.0]]");
  m.def("fused_softmax_dropout", &ops::fused_softmax_dropout, "x"_a, "p"_a, "mask"_a.none(), "key"_a.none(), nb::kw_only(), stream,
        "dropout(softmax(x + mask), p) of attention scores: x [B, heads, Lq, Lk], mask [B, 1, 1, Lk] or [B, Lk].\n\n"
        ">>> m2bert.ops.fused_softmax_dropout(mx.zeros((1, 1, 1, 2)), 0.1, None, None).flatten().tolist()\n"
        "[0.5, 0.5]");
  m.def("fused_softmax_dropout_fallback", &ops::fused_softmax_dropout_fallback, "x"_a, "p"_a, "mask"_a.none(), "key"_a.none(),
        nb::kw_only(), stream, "fused_softmax_dropout, composed of MLX's operations.");
  m.def(
      "fused_softmax_dropout_with_mask",
      [](const mx::array& x, float p, const OptionalArray& mask, const OptionalArray& key, Stream s) {
        const auto result = ops::fused_softmax_dropout_with_mask(x, p, mask, key, s);
        return std::pair(result.probabilities, result.kept);
      },
      "x"_a, "p"_a, "mask"_a.none(), "key"_a.none(), nb::kw_only(), stream,
      "fused_softmax_dropout, and which values were kept: bool of x's shape, or None without dropout.\n\n"
      ">>> m2bert.ops.fused_softmax_dropout_with_mask(mx.zeros((1, 1, 1, 2)), 0.1, None, None)[1] is None\n"
      "True");
}

}  // namespace

void bind_pointwise(nb::module_& m) {
  bind_activations(m);
  bind_norm_and_loss(m);
  bind_dropout(m);
}

}  // namespace m2bert::python
