#include "m2bert/ops/low_rank.h"

#include <algorithm>

#include "m2bert/error.h"

namespace m2bert::ops {

namespace {

using Arrays = std::vector<mx::array>;

void check(const mx::array& matrix, int rank) {
  require(matrix.ndim() >= 2, "[low_rank_project] matrix has shape ", matrix.shape(), ", wants [..., m, n]");
  require(mx::issubdtype(matrix.dtype(), mx::inexact), "[low_rank_project] matrix is ", matrix.dtype(), ", wants floating or complex");
  const int smaller = std::min(matrix.shape(-2), matrix.shape(-1));
  require(smaller > 0, "[low_rank_project] matrix is empty: its shape is ", matrix.shape());
  require(rank >= 1 && rank <= smaller, "[low_rank_project] rank is ", rank, "; a matrix of shape ", matrix.shape(), " has a rank of 1 to ",
          smaller);
}

mx::Stream cpu_stream(mx::StreamOrDevice s) {
  const auto stream = mx::to_stream(s);
  return stream.device == mx::Device(mx::Device::cpu) ? stream : mx::default_stream(mx::Device::cpu);
}

mx::array transposed(const mx::array& x, mx::Stream s) { return mx::swapaxes(x, -1, -2, s); }

// U, S, Vt. MLX returns the full square U and Vt, so a long real matrix is first reduced by QR (which MLX has only for real matrices).
Arrays svd(const mx::array& matrix, mx::Stream cpu) {
  const int m = matrix.shape(-2), n = matrix.shape(-1);
  if (matrix.dtype() == mx::complex64 || std::max(m, n) <= 2 * std::min(m, n)) return mx::linalg::svd(matrix, true, cpu);
  auto [q, r] = mx::linalg::qr(m > n ? matrix : transposed(matrix, cpu), cpu);
  auto parts = mx::linalg::svd(r, true, cpu);
  const auto longer = mx::matmul(q, parts[0], cpu);
  if (m > n) return {longer, parts[1], parts[2]};
  return {transposed(parts[2], cpu), parts[1], transposed(longer, cpu)};
}

// The first `count` of an axis from the end.
mx::array first(const mx::array& x, int axis, int count, mx::StreamOrDevice s) {
  auto stop = x.shape();
  stop[size_t(x.ndim()) - size_t(-axis)] = count;
  return mx::slice(x, mx::Shape(x.ndim(), 0), stop, s);
}

Arrays decompose(const mx::array& matrix, int rank, mx::StreamOrDevice s) {
  const auto dtype = matrix.dtype();
  const bool narrow = dtype == mx::float16 || dtype == mx::bfloat16;
  const auto parts = svd(narrow ? mx::astype(matrix, mx::float32, s) : matrix, cpu_stream(s));
  const auto root = mx::sqrt(first(parts[1], -1, rank, s), s);
  auto u = mx::multiply(first(parts[0], -1, rank, s), mx::expand_dims(root, -2, s), s);
  auto vt = mx::multiply(mx::expand_dims(root, -1, s), first(parts[2], -2, rank, s), s);
  return {mx::astype(u, dtype, s), mx::astype(vt, dtype, s)};
}

Arrays no_gradient(const Arrays&, const Arrays&, const Arrays&) {
  fail("[low_rank_project] has no gradient: projections by singular values are not differentiated; give it mx::stop_gradient(matrix)");
}

}  // namespace

std::pair<mx::array, mx::array> low_rank_project(const mx::array& matrix, int rank, mx::StreamOrDevice s) {
  check(matrix, rank);
  // LAPACK would report an error code, or not terminate.
  require(mx::all(mx::isfinite(matrix, s), s).item<bool>(), "[low_rank_project] matrix of shape ", matrix.shape(),
          " has values that are infinite or not numbers");
  auto project = mx::custom_function([rank, s](const Arrays& in) { return decompose(in[0], rank, s); }, no_gradient);
  auto factors = project({matrix});
  return {factors[0], factors[1]};
}

mx::array projection_residual(const mx::array& matrix, const mx::array& approximation, mx::StreamOrDevice s) {
  require(matrix.shape() == approximation.shape(), "[projection_residual] matrix has shape ", matrix.shape(), ", approximation ",
          approximation.shape());
  auto norm = [s](const mx::array& x) {
    auto size = mx::abs(x, s);
    return mx::sqrt(mx::sum(mx::square(mx::astype(size, mx::float32, s), s), s), s);
  };
  const auto whole = norm(matrix), rest = norm(mx::subtract(matrix, approximation, s));
  return mx::where(mx::equal(rest, mx::array(0.0f), s), mx::array(0.0f), mx::divide(rest, whole, s), s);
}

}  // namespace m2bert::ops
