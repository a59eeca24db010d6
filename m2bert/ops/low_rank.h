#pragma once
// The best approximation of a matrix by one of low rank. Source: low_rank_project of the reference; Eckart and Young, 1936.
#include <utility>

#include "m2bert/mx.h"

namespace m2bert::ops {

// U [..., m, rank] and Vt [..., rank, n] of a matrix [..., m, n]: U Vt is the matrix of this rank that is nearest to it (Frobenius and
// spectral norm). From matrix = U' S V'^H, U = U' sqrt(S) and Vt = sqrt(S) V'^H, so the columns of U are as long as the rows of Vt. They
// are unique up to a factor of modulus 1 for each singular value, which U and Vt share inversely; U Vt is unique where S[rank-1] > S[rank].
//
// float32, float64 (CPU), complex64; bfloat16 and float16 are decomposed in float32, and the result has their dtype. Batches of matrices.
// MLX decomposes on the CPU alone, so that runs on a CPU stream whatever s is; the factors are for s again. Evaluates the matrix, so
// it cannot stand inside mx::compile or mx::vmap.
// Deviation of float32, measured against float64 on Gaussian matrices of 5 x 7 to 512 x 512 and 1024 x 64, ranks 1 to 32: how well U Vt
// approximates differs by less than 1e-6 (relative, projection_residual). U Vt itself differs more where singular values lie close
// together, as S[0] / (S[rank-1] - S[rank]): by 2e-6 of its largest entry at 5 x 7, 7e-6 up to 64 x 32, up to 2e-4 beyond. A matrix that
// has this rank already comes back within about 1e-6 (rank 1: 3e-7).
//
// There is no gradient (the reference's own is undefined where singular values coincide): one that is traced through it throws Error.
// mx::stop_gradient(matrix) takes it as a constant. Throws Error where the matrix is empty, has values that are not finite or is not
// floating or complex, and for a rank outside [1, min(m, n)].
std::pair<mx::array, mx::array> low_rank_project(const mx::array& matrix, int rank, mx::StreamOrDevice s = {});

// |matrix - approximation| / |matrix| (Frobenius, over all entries), a float32 scalar; 0 where both are 0. How far a projection is from
// what it was made of: below 1e-6 if the matrix had the structure already. Shapes are the same.
mx::array projection_residual(const mx::array& matrix, const mx::array& approximation, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
