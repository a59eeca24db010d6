#include "m2bert/ops/monarch_factor.h"

#include <cmath>
#include <complex>
#include <cstdint>
#include <numbers>

#include "m2bert/error.h"
#include "m2bert/ops/low_rank.h"
#include "m2bert/ops/monarch.h"
#include "m2bert/ops/rearrange.h"

namespace m2bert::ops {

namespace {

ButterflySizes checked_sizes(const char* op, int n, const std::optional<ButterflySizes>& sizes) {
  const auto found = sizes ? *sizes : butterfly_sizes(n);
  require(found.first >= 1 && found.second >= 1 && int64_t(found.first) * found.second == n, "[", op, "] sizes ", found.first, " x ",
          found.second, " do not make ", n);
  return found;
}

// m [(l j b2), (k i)] -> its sub-matrices [k, j, (l b2), i].
mx::array sub_matrices(const char* op, const mx::array& m, int k, int j, int b2, mx::StreamOrDevice s) {
  require(m.ndim() == 2, "[", op, "] M has shape ", m.shape(), ", wants [out, in]");
  require(k >= 1 && j >= 1 && b2 >= 1, "[", op, "] nblocks1 is ", k, ", nblocks2 ", j, " and b2 ", b2, "; each must be at least 1");
  require(m.size() > 0, "[", op, "] M is empty: its shape is ", m.shape());
  require(m.shape(0) % (int64_t(j) * b2) == 0, "[", op, "] M has ", m.shape(0), " rows, not a multiple of nblocks2 x b2 = ", j, " x ", b2);
  require(m.shape(1) % k == 0, "[", op, "] M has ", m.shape(1), " columns, not a multiple of nblocks1 = ", k);
  return rearrange(m, "(l j b2) (k i) -> k j (l b2) i", {{"k", k}, {"j", j}, {"b2", b2}}, s);
}

std::pair<mx::array, mx::array> nearest(const char* op, const mx::array& blocks, int rank, mx::StreamOrDevice s) {
  const int rows = blocks.shape(-2), columns = blocks.shape(-1);
  require(rank >= 1 && rank <= std::min(rows, columns), "[", op, "] rank is ", rank, "; sub-matrices of ", rows, " x ", columns,
          " have a rank of 1 to ", std::min(rows, columns));
  return low_rank_project(blocks, rank, s);
}

double transform_scale(int n, FourierDirection direction, mx::fft::FFTNorm norm) {
  if (norm == mx::fft::FFTNorm::Ortho) return 1 / std::sqrt(double(n));
  const bool divided = (norm == mx::fft::FFTNorm::Forward) == (direction == FourierDirection::fft);
  return divided ? 1.0 / n : 1.0;
}

// An array [d0, d1, d2] of value * exp(turn * 2 pi i * exponent(i0, i1, i2) / n).
template <class Exponent>
mx::array roots_of_unity(int d0, int d1, int d2, int n, double turn, double value, const Exponent& exponent) {
  std::vector<mx::complex64_t> entries;
  entries.reserve(size_t(d0) * size_t(d1) * size_t(d2));
  for (int64_t i = 0; i < d0; ++i) {
    for (int64_t j = 0; j < d1; ++j) {
      for (int64_t k = 0; k < d2; ++k) {
        const double angle = turn * 2 * std::numbers::pi * double(exponent(i, j, k) % n) / n;
        entries.emplace_back(float(value * std::cos(angle)), float(value * std::sin(angle)));
      }
    }
  }
  return mx::array(entries.begin(), {d0, d1, d2}, mx::complex64);
}

}  // namespace

std::vector<std::pair<int, int>> factors(int n) {
  require(n >= 1, "[factors] n is ", n, ", wants at least 1");
  std::vector<std::pair<int, int>> found;
  for (int i = 1; i <= n / i; ++i) {
    if (n % i == 0) found.emplace_back(i, n / i);
  }
  return found;
}

ButterflySizes butterfly_sizes(int n) {
  const auto [smaller, larger] = factors(n).back();
  return {larger, smaller};
}

ButterflyPair blockdiag_butterfly_project(const mx::array& m, const std::optional<ButterflySizes>& sizes, mx::StreamOrDevice s) {
  constexpr auto op = "blockdiag_butterfly_project";
  require(m.ndim() == 2 && m.shape(0) == m.shape(1), "[", op, "] M has shape ", m.shape(), ", wants a square matrix");
  require(m.size() > 0, "[", op, "] M is empty");
  const auto [r, b] = checked_sizes(op, m.shape(0), sizes);
  return blockdiag_butterfly_project_einsum_rank(m, r, b, 1, s);
}

ButterflyPair blockdiag_butterfly_project_einsum_simple(const mx::array& m, int nblocks1, int nblocks2, mx::StreamOrDevice s) {
  auto [u, vt] = nearest("blockdiag_butterfly_project_einsum_simple",
                         sub_matrices("blockdiag_butterfly_project_einsum_simple", m, nblocks1, nblocks2, 1, s), 1, s);
  return {rearrange(vt, "k j 1 i -> k j i", {}, s), rearrange(u, "k j l 1 -> j l k", {}, s)};
}

ButterflyPair blockdiag_butterfly_project_einsum(const mx::array& m, int nblocks1, int nblocks2, int b1, int b2, mx::StreamOrDevice s) {
  constexpr auto op = "blockdiag_butterfly_project_einsum";
  auto [u, vt] = nearest(op, sub_matrices(op, m, nblocks1, nblocks2, b2, s), b1, s);
  return {rearrange(vt, "k j b1 i -> k (j b1) i", {}, s), rearrange(u, "k j lb2 b1 -> j lb2 (k b1)", {}, s)};
}

ButterflyPair blockdiag_butterfly_project_einsum_rank(const mx::array& m, int nblocks1, int nblocks2, int rank, mx::StreamOrDevice s) {
  constexpr auto op = "blockdiag_butterfly_project_einsum_rank";
  auto [u, vt] = nearest(op, sub_matrices(op, m, nblocks1, nblocks2, 1, s), rank, s);
  return {rearrange(vt, "k j r i -> k (r j) i", {}, s), rearrange(u, "k j l r -> j l (k r)", {}, s)};
}

ButterflyFourier butterfly_fft_factors(int n, FourierDirection direction, mx::fft::FFTNorm norm,
                                       const std::optional<ButterflySizes>& sizes) {
  require(n >= 1, "[butterfly_fft_factors] n is ", n, ", wants at least 1");
  const auto checked = checked_sizes("butterfly_fft_factors", n, sizes);
  const int r = checked.first, b = checked.second;
  // Row p*b + k, column t*r + q of the transform, which the permutation moves to column q*b + t:
  //   w^((p b + k)(t r + q)) = w^(k t r + k q) w^(p b q)       since w^(p b t r) = 1
  const double turn = direction == FourierDirection::fft ? -1 : 1, scale = transform_scale(n, direction, norm);
  const double ratio = std::pow(double(r) / b, 0.25);  // equal norms of the blocks of both factors
  auto w1 = roots_of_unity(r, b, b, n, turn, std::sqrt(scale) * ratio, [&](int64_t q, int64_t k, int64_t t) { return k * (t * r + q); });
  auto w2 = roots_of_unity(b, r, r, n, turn, std::sqrt(scale) / ratio, [&](int64_t, int64_t p, int64_t q) { return p * b * q; });
  std::vector<int> permutation;
  permutation.reserve(size_t(n));
  for (int q = 0; q < r; ++q) {
    for (int t = 0; t < b; ++t) permutation.push_back(t * r + q);
  }
  return {mx::array(permutation.begin(), {n}, mx::int32), w1, w2};
}

mx::array butterfly_fft(const mx::array& x, const mx::array& w1, const mx::array& w2, mx::StreamOrDevice s) {
  require(mx::issubdtype(x.dtype(), mx::inexact), "[butterfly_fft] x is ", x.dtype(), ", wants floating or complex");
  require(w1.ndim() == 3 && w2.ndim() == 3, "[butterfly_fft] w1 has shape ", w1.shape(), " and w2 ", w2.shape(),
          ", both want three dimensions");
  const int r = w1.shape(0), b = w1.shape(2);
  require(x.ndim() >= 1 && x.shape(-1) == r * b, "[butterfly_fft] x has shape ", x.shape(), ", w1 wants ", r, " x ", b, " columns");
  auto complex = mx::astype(x, mx::complex64, s);
  return blockdiag_butterfly_multiply(rearrange(complex, "... (b r) -> ... (r b)", {{"r", r}, {"b", b}}, s), w1, w2, s);
}

mx::array butterfly_fft(const mx::array& x, FourierDirection direction, mx::fft::FFTNorm norm, const std::optional<ButterflySizes>& sizes,
                        mx::StreamOrDevice s) {
  require(x.ndim() >= 1, "[butterfly_fft] x is a scalar, wants [..., n]");
  const auto f = butterfly_fft_factors(x.shape(-1), direction, norm, sizes);
  return butterfly_fft(x, f.w1, f.w2, s);
}

mx::array butterfly_fft2(const mx::array& x, const ButterflyPair& columns, const ButterflyPair& rows, mx::StreamOrDevice s) {
  require(x.ndim() >= 2, "[butterfly_fft2] x has shape ", x.shape(), ", wants [..., n1, n2]");
  auto by_columns = butterfly_fft(mx::swapaxes(x, -1, -2, s), columns.w1, columns.w2, s);
  return butterfly_fft(mx::swapaxes(by_columns, -1, -2, s), rows.w1, rows.w2, s);
}

mx::array butterfly_fft2(const mx::array& x, FourierDirection direction, mx::fft::FFTNorm norm, mx::StreamOrDevice s) {
  require(x.ndim() >= 2, "[butterfly_fft2] x has shape ", x.shape(), ", wants [..., n1, n2]");
  const auto columns = butterfly_fft_factors(x.shape(-2), direction, norm), rows = butterfly_fft_factors(x.shape(-1), direction, norm);
  return butterfly_fft2(x, ButterflyPair{columns.w1, columns.w2}, ButterflyPair{rows.w1, rows.w2}, s);
}

mx::array butterfly_factor_to_matrix(const mx::array& twiddle, int factor_index, mx::StreamOrDevice s) {
  constexpr auto op = "butterfly_factor_to_matrix";
  require(twiddle.ndim() == 3 && twiddle.shape(1) == twiddle.shape(2) && twiddle.shape(1) >= 2, "[", op, "] twiddle has shape ",
          twiddle.shape(), ", wants [n / b, b, b] with b of at least 2");
  const int b = twiddle.shape(1), n = twiddle.shape(0) * b;
  int levels = 0;
  int64_t power = 1;
  for (; power < n; power *= b) ++levels;
  require(n > 0 && power == n, "[", op, "] twiddle has shape ", twiddle.shape(), ": n = ", n, " is no power of b = ", b);
  require(factor_index >= 0 && factor_index < levels, "[", op, "] factor_index is ", factor_index, "; there are ", levels,
          " factors, from 0");
  int stride = 1;
  for (int level = 0; level < factor_index; ++level) stride *= b;
  const int blocks = n / (b * stride);
  auto values = mx::transpose(mx::reshape(twiddle, {blocks, stride, b, b}, s), {0, 2, 1, 3}, s);  // d i t j
  auto same = [&](int count, const mx::Shape& at) { return mx::reshape(mx::eye(count, count, 0, mx::bool_, s), at, s); };
  auto inside = mx::logical_and(same(blocks, {blocks, 1, 1, blocks, 1, 1}), same(stride, {1, 1, stride, 1, 1, stride}), s);
  values = mx::reshape(values, {blocks, b, stride, 1, b, 1}, s);
  return mx::reshape(mx::where(inside, values, mx::array(0, twiddle.dtype()), s), {n, n}, s);  // (d i t) (d j t)
}

}  // namespace m2bert::ops
