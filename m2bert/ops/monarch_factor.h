#pragma once
// Making Monarch matrices: projections of a dense matrix, and exact factors of the Fourier transform. Source: Dao et al. 2022, "Monarch",
// arXiv 2204.00595, section 3; upstream's blockdiag_butterfly_projection, blockdiag_butterfly_einsum and butterfly_factor.
//
// In a Monarch matrix certain sub-matrices have rank 1 (or b1, or `rank`). A projection replaces each of them by the nearest matrix of that
// rank (low_rank_project), so the result is the nearest Monarch matrix of these sizes (Frobenius). A Monarch matrix is reproduced:
// projection_residual(M, blockdiag_butterfly_to_dense(w1, w2)) is then below 1e-6 (measured: 3e-7 up to n = 3072).
// What low_rank.h says about dtypes, CPU streams, deviation and gradients (there are none: Error) holds for all projections. They also
// throw Error if sizes do not divide the matrix's, or a rank exceeds a sub-matrix's.
#include <optional>
#include <utility>
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::ops {

// All (i, n / i) with i * (n / i) = n and i <= n / i, in ascending order of i. n >= 1. The last pair is nearest to a square; a prime has
// only (1, n).
std::vector<std::pair<int, int>> factors(int n);

// (larger, smaller) of the last factors: the default sizes of a Monarch matrix. For a prime n they are (n, 1), which is exact and saves
// nothing.
using ButterflySizes = std::pair<int, int>;
ButterflySizes butterfly_sizes(int n);

struct ButterflyPair {
  mx::array w1, w2;  // arguments of blockdiag_butterfly_multiply and its einsum forms
};

// M [n, n], n = r * b with sizes (r, b) -> w1 [r, b, b], w2 [b, r, r] for blockdiag_butterfly_multiply.
// The sub-matrix (k, q) [r, b] of M (rows p*b + k, columns q*b + s) is w2[k, :, q] w1[q, k, :].
ButterflyPair blockdiag_butterfly_project(const mx::array& m, const std::optional<ButterflySizes>& sizes = std::nullopt,
                                          mx::StreamOrDevice s = {});

// M [(l j), (k i)] with k = nblocks1, j = nblocks2 -> w1 [k, j, i], w2 [j, l, k] for blockdiag_butterfly_multiply_einsum_simple.
ButterflyPair blockdiag_butterfly_project_einsum_simple(const mx::array& m, int nblocks1, int nblocks2, mx::StreamOrDevice s = {});

// M [(l j b2), (k i)] -> w1 [k, (j b1), i], w2 [j, (l b2), (k b1)] for blockdiag_butterfly_multiply_einsum. b1 <= min(l * b2, i).
ButterflyPair blockdiag_butterfly_project_einsum(const mx::array& m, int nblocks1, int nblocks2, int b1, int b2, mx::StreamOrDevice s = {});

// M [(l j), (k i)] -> w1 [k, (r j), i], w2 [j, l, (k r)] for blockdiag_butterfly_multiply_einsum_rank, r = rank <= min(l, i).
ButterflyPair blockdiag_butterfly_project_einsum_rank(const mx::array& m, int nblocks1, int nblocks2, int rank, mx::StreamOrDevice s = {});

enum class FourierDirection { fft, ifft };

// The Fourier transform of n points as a permutation followed by a Monarch matrix (Cooley and Tukey): exact, not an approximation.
struct ButterflyFourier {
  mx::array permutation;  // [n] int32: column c of the Monarch matrix is column permutation[c] of the transform's matrix
  mx::array w1, w2;       // complex64 [r, b, b], [b, r, r]
};

// The factors for sizes (r, b), r * b = n >= 1. They equal blockdiag_butterfly_project of the permuted matrix (blocks of w1 and w2 have
// equal norms), but are computed from their formula in double: no singular values, and each entry is correct to the last bit of float32.
// norm as in mx::fft: the transform is divided by 1 (Backward; ifft by n), sqrt(n) (Ortho) or n (Forward; ifft by 1).
ButterflyFourier butterfly_fft_factors(int n, FourierDirection direction = FourierDirection::fft,
                                       mx::fft::FFTNorm norm = mx::fft::FFTNorm::Ortho,
                                       const std::optional<ButterflySizes>& sizes = std::nullopt);

// The transform of x's last axis: blockdiag_butterfly_multiply of x's permuted columns. x [..., n], floating or complex; the result is
// complex64 [..., n]. Differentiable in x, w1 and w2, so the factors can be trained further, starting from the Fourier transform.
// The permutation follows from w1's number of blocks. Measured against MLX's FFT: within 3e-7 of the largest value up to n = 4096. It takes
// about n (r + b) multiplications, an FFT n log2(n).
mx::array butterfly_fft(const mx::array& x, const mx::array& w1, const mx::array& w2, mx::StreamOrDevice s = {});
mx::array butterfly_fft(const mx::array& x, FourierDirection direction = FourierDirection::fft,
                        mx::fft::FFTNorm norm = mx::fft::FFTNorm::Ortho, const std::optional<ButterflySizes>& sizes = std::nullopt,
                        mx::StreamOrDevice s = {});

// The transform of x's last two axes, x [..., n1, n2]: `columns` transforms n1, `rows` n2.
mx::array butterfly_fft2(const mx::array& x, const ButterflyPair& columns, const ButterflyPair& rows, mx::StreamOrDevice s = {});
mx::array butterfly_fft2(const mx::array& x, FourierDirection direction = FourierDirection::fft,
                         mx::fft::FFTNorm norm = mx::fft::FFTNorm::Ortho, mx::StreamOrDevice s = {});

// One of the log_b(n) factors of a butterfly matrix, as a matrix [n, n]: block diagonal, with blocks of size b^(factor_index + 1) in which
// entries are b^factor_index apart. twiddle [n / b, b, b], n = b^levels, 0 <= factor_index < levels:
//   matrix[(d i t), (d j t)] = twiddle[(d t), i, j]       with t < b^factor_index; zero elsewhere
// Differentiable. Throws Error if n is not a power of b, b < 2, or there is no such factor.
mx::array butterfly_factor_to_matrix(const mx::array& twiddle, int factor_index, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
