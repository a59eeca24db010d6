// m2bert.ops: block-diagonal and Monarch matrices.
#include "m2bert/ops/monarch.h"

#include <nanobind/stl/tuple.h>

#include <tuple>

#include "m2bert/ops/monarch_factor.h"
#include "python/bindings/ops.h"

namespace m2bert::python {
namespace {

using ArrayPair = std::pair<mx::array, mx::array>;
using Sizes = std::optional<ops::ButterflySizes>;

ArrayPair pair_of(const ops::ButterflyPair& factors) { return {factors.w1, factors.w2}; }

ops::FourierDirection direction_named(const std::string& name) {
  return named<ops::FourierDirection>("direction", name, {{"fft", ops::FourierDirection::fft}, {"ifft", ops::FourierDirection::ifft}});
}

mx::fft::FFTNorm norm_named(const std::string& name) {
  using enum mx::fft::FFTNorm;
  return named<mx::fft::FFTNorm>("norm", name, {{"backward", Backward}, {"ortho", Ortho}, {"forward", Forward}});
}

void bind_multiply(nb::module_& m) {
  const auto stream = stream_argument();
  m.def("blockdiag_multiply", &ops::blockdiag_multiply, "x"_a, "weight"_a, "bias"_a = nb::none(), nb::kw_only(), stream,
        "x times a block-diagonal matrix: x [..., nb p], weight [nb, q, p], bias [nb q]; the result is [..., nb q].\n\n"
        ">>> m2bert.ops.blockdiag_multiply(mx.ones((2, 6)), mx.ones((3, 4, 2))).shape\n"
        "(2, 12)");
  m.def("blockdiag_multiply_fallback", &ops::blockdiag_multiply_fallback, "x"_a, "weight"_a, "bias"_a = nb::none(), nb::kw_only(), stream,
        "blockdiag_multiply, composed of MLX's operations.");
  m.def("blockdiag_weight_to_dense_weight", &ops::blockdiag_weight_to_dense_weight, "weight"_a, nb::kw_only(), stream,
        "The full matrix [nb q, nb p] of the blocks [nb, q, p].\n\n"
        ">>> m2bert.ops.blockdiag_weight_to_dense_weight(mx.ones((2, 1, 2))).tolist()\n"
        "[[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]");
  m.def("dense_weight_to_blockdiag_weight", &ops::dense_weight_to_blockdiag_weight, "dense"_a, "nblocks"_a, nb::kw_only(), stream,
        "The blocks [nb, q, p] on the diagonal of a matrix [nb q, nb p].\n\n"
        ">>> m2bert.ops.dense_weight_to_blockdiag_weight(mx.eye(4), 2).tolist()\n"
        "[[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]]");
  m.def("blockdiag_butterfly_multiply", &ops::blockdiag_butterfly_multiply, "x"_a, "w1"_a, "w2"_a, nb::kw_only(), stream,
        "x times a Monarch matrix: x [..., k p], w1 [k, q, p], w2 [l, s, r] with l r = k q; the result is [..., s l].\n\n"
        ">>> m2bert.ops.blockdiag_butterfly_multiply(mx.ones((2, 6)), mx.ones((3, 2, 2)), mx.ones((2, 3, 3))).shape\n"
        "(2, 6)");
  m.def("blockdiag_butterfly_multiply_fallback", &ops::blockdiag_butterfly_multiply_fallback, "x"_a, "w1"_a, "w2"_a, nb::kw_only(), stream,
        "blockdiag_butterfly_multiply, composed of MLX's operations.");
  m.def("blockdiag_butterfly_multiply_einsum_simple", &ops::blockdiag_butterfly_multiply_einsum_simple, "x"_a, "w1"_a, "w2"_a,
        nb::kw_only(), stream,
        "x [..., (k i)], w1 [k, j, i], w2 [j, l, k] -> [..., (l j)].\n\n"
        ">>> m2bert.ops.blockdiag_butterfly_multiply_einsum_simple(mx.ones((2, 6)), mx.ones((3, 4, 2)), mx.ones((4, 5, 3))).shape\n"
        "(2, 20)");
  m.def("blockdiag_butterfly_multiply_einsum", &ops::blockdiag_butterfly_multiply_einsum, "x"_a, "w1"_a, "w2"_a, "b2"_a, nb::kw_only(),
        stream,
        "x [..., (k i)], w1 [k, (j b1), i], w2 [j, (l b2), (k b1)] -> [..., (l j b2)].\n\n"
        ">>> m2bert.ops.blockdiag_butterfly_multiply_einsum(mx.ones((2, 6)), mx.ones((3, 8, 2)), mx.ones((4, 10, 6)), b2=2).shape\n"
        "(2, 40)");
  m.def("blockdiag_butterfly_multiply_einsum_rank", &ops::blockdiag_butterfly_multiply_einsum_rank, "x"_a, "w1"_a, "w2"_a, nb::kw_only(),
        stream,
        "x [..., (k i)], w1 [k, (r j), i], w2 [j, l, (k r)] -> [..., (l j)].\n\n"
        ">>> m2bert.ops.blockdiag_butterfly_multiply_einsum_rank(mx.ones((2, 6)), mx.ones((3, 8, 2)), mx.ones((4, 5, 6))).shape\n"
        "(2, 20)");
  m.def("blockdiag_butterfly_to_dense", &ops::blockdiag_butterfly_to_dense, "w1"_a, "w2"_a, nb::kw_only(), stream,
        "The full matrix [out, in] of blockdiag_butterfly_multiply, and of its forms einsum_simple and einsum_rank.\n\n"
        ">>> m2bert.ops.blockdiag_butterfly_to_dense(mx.ones((3, 2, 2)), mx.ones((2, 3, 3))).shape\n"
        "(6, 6)");
  m.def("blockdiag_butterfly_einsum_to_dense", &ops::blockdiag_butterfly_einsum_to_dense, "w1"_a, "w2"_a, "b2"_a, nb::kw_only(), stream,
        "The full matrix [out, in] of blockdiag_butterfly_multiply_einsum.\n\n"
        ">>> m2bert.ops.blockdiag_butterfly_einsum_to_dense(mx.ones((3, 8, 2)), mx.ones((4, 10, 6)), 2).shape\n"
        "(40, 6)");
}

void bind_projections(nb::module_& m) {
  const auto stream = stream_argument();
  m.def("factors", &ops::factors, "n"_a,
        "All (i, n / i) with i <= n / i whose product is n.\n\n"
        ">>> m2bert.ops.factors(12)\n"
        "[(1, 12), (2, 6), (3, 4)]");
  m.def("butterfly_sizes", &ops::butterfly_sizes, "n"_a,
        "The default sizes of a Monarch matrix with n rows, the larger one first.\n\n"
        ">>> m2bert.ops.butterfly_sizes(768)\n"
        "(32, 24)");
  m.def(
      "blockdiag_butterfly_project",
      [](const mx::array& matrix, const Sizes& sizes, Stream s) { return pair_of(ops::blockdiag_butterfly_project(matrix, sizes, s)); },
      "m"_a, "sizes"_a = nb::none(), nb::kw_only(), stream,
      "(w1, w2) of the nearest Monarch matrix to m [n, n]; n = r b with sizes (r, b): w1 [r, b, b], w2 [b, r, r]. No gradient.\n\n"
      ">>> w1, w2 = m2bert.ops.blockdiag_butterfly_project(mx.eye(6))\n"
      ">>> w1.shape, w2.shape\n"
      "((3, 2, 2), (2, 3, 3))");
  m.def(
      "blockdiag_butterfly_project_einsum_simple",
      [](const mx::array& matrix, int nblocks1, int nblocks2, Stream s) {
        return pair_of(ops::blockdiag_butterfly_project_einsum_simple(matrix, nblocks1, nblocks2, s));
      },
      "m"_a, "nblocks1"_a, "nblocks2"_a, nb::kw_only(), stream,
      "(w1, w2) for blockdiag_butterfly_multiply_einsum_simple: m [(l j), (k i)] with k = nblocks1, j = nblocks2. No gradient.\n\n"
      ">>> w1, w2 = m2bert.ops.blockdiag_butterfly_project_einsum_simple(mx.eye(6), 3, 2)\n"
      ">>> w1.shape, w2.shape\n"
      "((3, 2, 2), (2, 3, 3))");
  m.def(
      "blockdiag_butterfly_project_einsum",
      [](const mx::array& matrix, int nblocks1, int nblocks2, int b1, int b2, Stream s) {
        return pair_of(ops::blockdiag_butterfly_project_einsum(matrix, nblocks1, nblocks2, b1, b2, s));
      },
      "m"_a, "nblocks1"_a, "nblocks2"_a, "b1"_a, "b2"_a, nb::kw_only(), stream,
      "(w1, w2) for blockdiag_butterfly_multiply_einsum: m [(l j b2), (k i)]. No gradient.\n\n"
      ">>> w1, w2 = m2bert.ops.blockdiag_butterfly_project_einsum(mx.eye(8), 2, 2, 1, 2)\n"
      ">>> w1.shape, w2.shape\n"
      "((2, 2, 4), (2, 4, 2))");
  m.def(
      "blockdiag_butterfly_project_einsum_rank",
      [](const mx::array& matrix, int nblocks1, int nblocks2, int rank, Stream s) {
        return pair_of(ops::blockdiag_butterfly_project_einsum_rank(matrix, nblocks1, nblocks2, rank, s));
      },
      "m"_a, "nblocks1"_a, "nblocks2"_a, "rank"_a, nb::kw_only(), stream,
      "(w1, w2) for blockdiag_butterfly_multiply_einsum_rank: m [(l j), (k i)]. No gradient.\n\n"
      ">>> w1, w2 = m2bert.ops.blockdiag_butterfly_project_einsum_rank(mx.eye(8), 2, 2, 2)\n"
      ">>> w1.shape, w2.shape\n"
      "((2, 4, 4), (2, 4, 4))");
}

void bind_fourier(nb::module_& m) {
  const auto stream = stream_argument();
  m.def(
      "butterfly_fft_factors",
      [](int n, const std::string& direction, const std::string& norm, const Sizes& sizes) {
        const auto factors = ops::butterfly_fft_factors(n, direction_named(direction), norm_named(norm), sizes);
        return std::tuple(factors.permutation, factors.w1, factors.w2);
      },
      "n"_a, "direction"_a = "fft", "norm"_a = "ortho", "sizes"_a = nb::none(),
      "(permutation, w1, w2): the Fourier transform of n points as a permutation and a Monarch matrix, exactly.\n\n"
      "direction: \"fft\" or \"ifft\". norm: \"backward\", \"ortho\" or \"forward\". sizes: (r, b) with r b = n; w1 [r, b, b], w2 [b, r, "
      "r].\n\n"
      ">>> permutation, w1, w2 = m2bert.ops.butterfly_fft_factors(6)\n"
      ">>> permutation.tolist()\n"
      "[0, 3, 1, 4, 2, 5]");
  m.def(
      "butterfly_fft",
      [](const mx::array& x, const mx::array& w1, const mx::array& w2, Stream s) { return ops::butterfly_fft(x, w1, w2, s); }, "x"_a,
      "w1"_a, "w2"_a, nb::kw_only(), stream,
      "The Fourier transform of x's last axis by a Monarch matrix: x [..., n] -> complex64 [..., n].\n\n"
      "w1, w2: the factors of butterfly_fft_factors, which can be trained further; or direction, norm and sizes, as there.\n\n"
      ">>> y = m2bert.ops.butterfly_fft(mx.array([1.0, 0.0, 0.0, 0.0]), norm=\"backward\")\n"
      ">>> [round(abs(v), 4) for v in y.tolist()]\n"
      "[1.0, 1.0, 1.0, 1.0]");
  m.def(
      "butterfly_fft",
      [](const mx::array& x, const std::string& direction, const std::string& norm, const Sizes& sizes, Stream s) {
        return ops::butterfly_fft(x, direction_named(direction), norm_named(norm), sizes, s);
      },
      "x"_a, "direction"_a = "fft", "norm"_a = "ortho", "sizes"_a = nb::none(), nb::kw_only(), stream);
  m.def(
      "butterfly_fft2",
      [](const mx::array& x, const ArrayPair& columns, const ArrayPair& rows, Stream s) {
        return ops::butterfly_fft2(x, {columns.first, columns.second}, {rows.first, rows.second}, s);
      },
      "x"_a, "columns"_a, "rows"_a, nb::kw_only(), stream,
      "The Fourier transform of x's last two axes [..., n1, n2]. columns, rows: (w1, w2) of n1 and n2; or direction and norm.\n\n"
      ">>> m2bert.ops.butterfly_fft2(mx.ones((3, 4, 6))).shape\n"
      "(3, 4, 6)");
  m.def(
      "butterfly_fft2",
      [](const mx::array& x, const std::string& direction, const std::string& norm, Stream s) {
        return ops::butterfly_fft2(x, direction_named(direction), norm_named(norm), s);
      },
      "x"_a, "direction"_a = "fft", "norm"_a = "ortho", nb::kw_only(), stream);
  m.def("butterfly_factor_to_matrix", &ops::butterfly_factor_to_matrix, "twiddle"_a, "factor_index"_a, nb::kw_only(), stream,
        "The matrix [n, n] of one factor of a butterfly matrix: twiddle [n / b, b, b], n a power of b.\n\n"
        ">>> m2bert.ops.butterfly_factor_to_matrix(mx.ones((2, 2, 2)), 1).tolist()[0]\n"
        "[1.0, 0.0, 1.0, 0.0]");
}

}  // namespace

void bind_monarch(nb::module_& m) {
  bind_multiply(m);
  bind_projections(m);
  bind_fourier(m);
}

}  // namespace m2bert::python
