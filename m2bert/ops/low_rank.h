#pragma once
// The best low-rank approximation of a matrix. Source: upstream's low_rank_project; Eckart and Young, 1936.
#include <utility>

#include "m2bert/mx.h"

namespace m2bert::ops {

// U [..., m, rank] and Vt [..., rank, n] of a matrix [..., m, n]: U Vt is the nearest matrix of this rank (in Frobenius and spectral norm).
// From matrix = U' S V'^H, U = U' sqrt(S) and Vt = sqrt(S) V'^H, so the columns of U have the same norms as the rows of Vt. They are unique
// up to a factor of modulus 1 per singular value, whose inverse multiplies Vt; U Vt is unique if S[rank-1] > S[rank].
//
// float32, float64 (CPU), complex64; bfloat16 and float16 are decomposed in float32, and the result has their dtype. Batches of matrices.
// MLX decomposes only on the CPU, so this part runs on a CPU stream whatever s is; the factors are on s again. Evaluates the matrix, so it
// cannot be used inside mx::compile or mx::vmap.
// Deviation of float32, measured against float64 on Gaussian matrices of 5 x 7 to 512 x 512 and 1024 x 64, ranks 1 to 32: the residual of
// U Vt (projection_residual) differs by less than 1e-6. U Vt itself differs more if singular values lie close together, in proportion to
// S[0] / (S[rank-1] - S[rank]): by 2e-6 of its largest entry at 5 x 7, 7e-6 up to 64 x 32, up to 2e-4 beyond. A matrix that already has
// this rank is reproduced within about 1e-6 (rank 1: 3e-7).
//
// There is no gradient (upstream's is undefined if singular values coincide): differentiating through it throws Error. Use
// mx::stop_gradient(matrix) to treat it as a constant. Throws Error if the matrix is empty, has values that are not finite, or is neither
// floating nor complex, and if rank is outside [1, min(m, n)].
std::pair<mx::array, mx::array> low_rank_project(const mx::array& matrix, int rank, mx::StreamOrDevice s = {});

// |matrix - approximation| / |matrix| (Frobenius, over all entries), a float32 scalar; 0 if both are 0. The distance of a projection from
// the original: below 1e-6 if the matrix already had the structure. Both have the same shape.
mx::array projection_residual(const mx::array& matrix, const mx::array& approximation, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
