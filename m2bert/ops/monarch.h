#pragma once
// Multiplication by block-diagonal and Monarch ("butterfly") matrices. Source: Dao et al. 2022, "Monarch", arXiv 2204.00595;
// upstream's blockdiag_multiply, blockdiag_butterfly_multiply and blockdiag_butterfly_einsum.
//
// Dtypes are floating or complex64; the result's is the promotion of x's and the weights' (normally all the same). Everything here is
// differentiable in x and the weights. Gradients with respect to complex arrays are dL/d(re) + i dL/d(im), as in PyTorch: for y = w x,
// dx = conj(w) dy. There may be any number of rows, including none. Throws Error, with the sizes, on wrong shapes.
#include <optional>

#include "m2bert/mx.h"

namespace m2bert::ops {

// y[..., k*q + i] = sum_j weight[k,i,j] x[..., k*p + j] + bias[k*q + i]: x times a block-diagonal matrix of nb blocks.
//   x [..., nb * p], weight [nb, q, p], bias [nb * q]; the result is [..., nb * q].
mx::array blockdiag_multiply(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias = std::nullopt,
                             mx::StreamOrDevice s = {});
mx::array blockdiag_multiply_fallback(const mx::array& x, const mx::array& weight, const std::optional<mx::array>& bias = std::nullopt,
                                      mx::StreamOrDevice s = {});

// The full matrix with these blocks: weight [nb, q, p] -> [nb * q, nb * p], zero outside the blocks.
mx::array blockdiag_weight_to_dense_weight(const mx::array& weight, mx::StreamOrDevice s = {});

// The blocks on a matrix's diagonal: dense [nb * q, nb * p] -> [nb, q, p]. This is the nearest block-diagonal matrix (Frobenius norm).
mx::array dense_weight_to_blockdiag_weight(const mx::array& dense, int nblocks, mx::StreamOrDevice s = {});

// x times a Monarch matrix: block diagonal w1, a permutation, block diagonal w2, a permutation.
//   z[..., c]         = sum_j w1[c / q, c % q, j] x[..., (c / q) * p + j]          c in [0, k*q)
//   y[..., i*l + b]   = sum_j w2[b, i, j] z[..., j*l + b]                          b in [0, l), i in [0, s)
//   x [..., k * p], w1 [k, q, p], w2 [l, s, r] with l * r = k * q; the result is [..., s * l].
// Square (k = q = p = l = s = r = sqrt(n)) or rectangular. If w1 is [k, rank * j, i] and w2 [j, l, k * rank], each sub-matrix (the columns
// of block k, the rows that are b modulo j) has this rank: see blockdiag_butterfly_multiply_einsum_rank.
mx::array blockdiag_butterfly_multiply(const mx::array& x, const mx::array& w1, const mx::array& w2, mx::StreamOrDevice s = {});
mx::array blockdiag_butterfly_multiply_fallback(const mx::array& x, const mx::array& w1, const mx::array& w2, mx::StreamOrDevice s = {});

// Upstream's einsum forms. They compute the same two matmuls as above; no intermediate is larger than [..., k * j * rank].
//   simple: x [..., (k i)], w1 [k, j, i], w2 [j, l, k] -> [..., (l j)];   y[l j] = sum over k, i of x[k i] w1[k j i] w2[j l k]
mx::array blockdiag_butterfly_multiply_einsum_simple(const mx::array& x, const mx::array& w1, const mx::array& w2,
                                                     mx::StreamOrDevice s = {});
//   x [..., (k i)], w1 [k, (j b1), i], w2 [j, (l b2), (k b1)] -> [..., (l j b2)];
//   y[l j b2] = sum over k, i, b1 of x[k i] w1[k (j b1) i] w2[j (l b2) (k b1)]. b1 follows from the shapes, b2 does not.
mx::array blockdiag_butterfly_multiply_einsum(const mx::array& x, const mx::array& w1, const mx::array& w2, int b2,
                                              mx::StreamOrDevice s = {});
//   rank: x [..., (k i)], w1 [k, (r j), i], w2 [j, l, (k r)] -> [..., (l j)];   y[l j] = sum over k, i, r of x[k i] w1[k (r j) i] w2[j l (k
//   r)]
mx::array blockdiag_butterfly_multiply_einsum_rank(const mx::array& x, const mx::array& w1, const mx::array& w2, mx::StreamOrDevice s = {});

// The full matrix M [out, in] with y = M x, for blockdiag_butterfly_multiply (and its special cases `simple` and `rank`) and for
// blockdiag_butterfly_multiply_einsum. For inspection and for checking a projection; multiplying by it would lose what Monarch saves.
mx::array blockdiag_butterfly_to_dense(const mx::array& w1, const mx::array& w2, mx::StreamOrDevice s = {});
mx::array blockdiag_butterfly_einsum_to_dense(const mx::array& w1, const mx::array& w2, int b2, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
