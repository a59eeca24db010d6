// m2bert.ops: linear layers, embeddings and int8 weights.
#include "m2bert/ops/dense.h"
#include "m2bert/ops/embedding.h"
#include "m2bert/ops/linear.h"
#include "m2bert/ops/low_rank.h"
#include "m2bert/ops/quantized.h"
#include "python/bindings/ops.h"

namespace m2bert::python {
namespace {

void def_fused_dense_gelu(nb::module_& m, const char* name, decltype(&ops::fused_dense_gelu) function, const char* doc) {
  m.def(
      name,
      [function](const mx::array& x, const mx::array& weight, const mx::array& bias, const std::string& kind, Stream stream) {
        return function(x, weight, bias,
                        named<ops::GeluKind>("kind", kind, {{"exact", ops::GeluKind::exact}, {"tanh", ops::GeluKind::tanh}}), stream);
      },
      "x"_a, "weight"_a, "bias"_a, "kind"_a = "exact", nb::kw_only(), stream_argument(), doc);
}

}  // namespace

void bind_matmuls(nb::module_& m) {
  const auto stream = stream_argument();
  m.def("linear", &ops::linear, "x"_a, "weight"_a, "bias"_a = nb::none(), nb::kw_only(), stream,
        "x weight^T + bias: x [..., in], weight [out, in], bias [out]; the result is [..., out].\n\n"
        ">>> m2bert.ops.linear(mx.ones((2, 3)), mx.ones((1, 3))).tolist()\n"
        "[[3.0], [3.0]]");
  m.def("linear_fallback", &ops::linear_fallback, "x"_a, "weight"_a, "bias"_a = nb::none(), nb::kw_only(), stream,
        "linear, composed of MLX's operations.");
  m.def("fused_dense", &ops::fused_dense, "x"_a, "weight"_a, "bias"_a, nb::kw_only(), stream,
        "linear with a bias, all of one dtype.\n\n"
        ">>> m2bert.ops.fused_dense(mx.ones((2, 3)), mx.ones((4, 3)), mx.ones((4,))).shape\n"
        "(2, 4)");
  m.def("fused_dense_fallback", &ops::fused_dense_fallback, "x"_a, "weight"_a, "bias"_a, nb::kw_only(), stream,
        "fused_dense, composed of MLX's operations.");
  def_fused_dense_gelu(m, "fused_dense_gelu", &ops::fused_dense_gelu,
                       "gelu(x weight^T + bias). kind: \"exact\" or \"tanh\".\n\n"
                       ">>> m2bert.ops.fused_dense_gelu(mx.ones((2, 3)), mx.ones((4, 3)), mx.ones((4,)), \"tanh\").shape\n"
                       "(2, 4)");
  def_fused_dense_gelu(m, "fused_dense_gelu_fallback", &ops::fused_dense_gelu_fallback, "fused_dense_gelu, composed of MLX's operations.");
  m.def("embedding_rows", &ops::embedding_rows, "table"_a, "index"_a, nb::kw_only(), stream,
        "table[index]: table [n, H], index of any shape, int32; the result is [..., H]. Differentiable in the table.\n\n"
        ">>> m2bert.ops.embedding_rows(mx.array([[1.0], [2.0]]), mx.array([1, 0, 1])).flatten().tolist()\n"
        "[2.0, 1.0, 2.0]");
  m.def("rotation_block", &ops::rotation_block, "columns"_a,
        "How many columns rotate_columns rotates together.\n\n"
        ">>> m2bert.ops.rotation_block(768)\n"
        "64");
  m.def("rotate_columns", &ops::rotate_columns, "x"_a, nb::kw_only(), stream,
        "The Hadamard transform of blocks of columns of x [..., n] that precedes quantization; its own inverse.\n\n"
        ">>> m2bert.ops.rotate_columns(mx.array([[1.0, 1.0, 1.0, 1.0]])).tolist()\n"
        "[[2.0, 0.0, 0.0, 0.0]]");
  m.def(
      "quantize_weight",
      [](const mx::array& weight, Stream s) {
        const auto quantized = ops::quantize_weight(weight, s);
        return std::pair(quantized.values, quantized.scale.value());
      },
      "weight"_a, nb::kw_only(), stream,
      "(values, scale) of an int8 weight: weight [..., in] -> int8 of its shape and float32, one for each row.\n\n"
      ">>> values, scale = m2bert.ops.quantize_weight(mx.ones((2, 64)))\n"
      ">>> values.dtype, scale.shape\n"
      "(mlx.core.int8, (2,))");
  m.def(
      "dequantize_weight",
      [](const mx::array& values, const OptionalArray& scale, Stream s) { return ops::dequantize_weight({values, scale}, s); }, "values"_a,
      "scale"_a = nb::none(), nb::kw_only(), stream,
      "The weight of quantize_weight as float32; one without a scale is returned unchanged.\n\n"
      ">>> m2bert.ops.dequantize_weight(*m2bert.ops.quantize_weight(mx.eye(4))).shape\n"
      "(4, 4)");
  m.def(
      "weight_matmul",
      [](const mx::array& x, const mx::array& values, const OptionalArray& scale, const OptionalArray& bias, Stream s) {
        return ops::weight_matmul(x, {values, scale}, bias, s);
      },
      "x"_a, "values"_a, "scale"_a = nb::none(), "bias"_a = nb::none(), nb::kw_only(), stream,
      "x W^T + bias with a dense or block-diagonal weight, floating or int8 (quantize_weight). No gradient with int8.\n\n"
      ">>> m2bert.ops.weight_matmul(mx.ones((2, 64)), *m2bert.ops.quantize_weight(mx.ones((3, 64)))).shape\n"
      "(2, 3)");
  m.def("low_rank_project", &ops::low_rank_project, "matrix"_a, "rank"_a, nb::kw_only(), stream,
        "(U, Vt) of the nearest matrix of a rank: matrix [..., m, n] -> [..., m, rank], [..., rank, n]. Evaluates on the CPU; no "
        "gradient.\n\n"
        ">>> U, Vt = m2bert.ops.low_rank_project(mx.eye(4), 2)\n"
        ">>> U.shape, Vt.shape\n"
        "((4, 2), (2, 4))");
  m.def("projection_residual", &ops::projection_residual, "matrix"_a, "approximation"_a, nb::kw_only(), stream,
        "|matrix - approximation| / |matrix| in the Frobenius norm.\n\n"
        ">>> m2bert.ops.projection_residual(mx.eye(4), mx.eye(4)).item()\n"
        "0.0");
}

}  // namespace m2bert::python
