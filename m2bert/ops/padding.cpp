#include "m2bert/ops/padding.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "m2bert/error.h"
#include "m2bert/ops/host_array.h"

namespace m2bert::ops {

// Values that are there already are read without an operation: on a GPU one would wait behind all work that was given to it before.
std::vector<uint8_t> read_mask(const mx::array& mask) {
  require(!mask.is_tracer(), "[unpadding] mask is traced; it is read on the host, so take it from outside the function");
  if (mask.dtype() == mx::int32 && mask.flags().row_contiguous && mask.is_available()) {
    std::vector<uint8_t> on(mask.size());
    std::transform(mask.data<int32_t>(), mask.data<int32_t>() + mask.size(), on.begin(), [](int32_t value) { return value != 0; });
    return on;
  }
  auto m = mx::contiguous(mx::astype(mx::not_equal(mask, mx::array(0, mask.dtype())), mx::uint8));
  m.eval();
  return {m.data<uint8_t>(), m.data<uint8_t>() + m.size()};
}

namespace {

// rows: the tokens of each sequence, which have no holes, in the flattened [B * S]; end: B * S.
AlignedRows aligned_rows(const std::vector<IndexRun>& rows, int end, int alignment) {
  std::vector<size_t> order(rows.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, std::greater(), [&](size_t b) { return rows[b].count; });
  std::vector<int> first(rows.size()), begins{0}, lengths;
  std::vector<IndexRun> indices, places;
  for (const size_t b : order) {
    const auto& [value, count] = rows[b];
    first[b] = begins.back();
    lengths.push_back(count);
    begins.push_back(begins.back() + (count + alignment - 1) / alignment * alignment);
    indices.push_back(rows[b]), places.push_back(rows[b]);
    for (int row = first[b] + count; row < begins.back(); ++row) indices.push_back({value + count - 1, 1}), places.push_back({end, 1});
  }
  return {CuSeqlens(std::move(begins), std::move(lengths)), std::move(first), index_array(indices), index_array(places)};
}

}  // namespace

Unpadding unpadding(const mx::array& mask) {
  require(mask.ndim() == 2, "[unpadding] mask has shape ", mask.shape(), ", wants [B, S]");
  return unpadding(read_mask(mask), mask.shape(0), mask.shape(1));
}

Unpadding unpadding(const std::vector<uint8_t>& on, int B, int S, int alignment) {
  require(on.size() == size_t(B) * size_t(S), "[unpadding] the mask has ", on.size(), " values, wants ", B, " x ", S);
  std::vector<IndexRun> runs;
  Unpadding u{mx::array(0), {0}, 0, S, true, true};
  for (int b = 0; b < B; ++b) {
    const auto row = on.begin() + std::ptrdiff_t(b) * S, end = row + S;
    int tokens = 0;
    for (auto at = row; (at = std::find_if(at, end, [](uint8_t value) { return value != 0; })) != end;) {
      const auto first = std::exchange(at, std::find(at, end, 0));
      runs.push_back({int(first - on.begin()), int(at - first)});
      tokens += runs.back().count;
    }
    if (tokens == 0) runs.push_back({b * S, 0});
    u.contiguous = u.contiguous && int(runs.size()) == b + 1;
    u.begins_with_tokens = u.begins_with_tokens && S > 0 && *row;
    u.max_seqlen = std::max(u.max_seqlen, tokens);
    u.cu_seqlens.push_back(u.cu_seqlens.back() + tokens);
  }
  u.indices = index_array(runs);
  if (alignment > 1 && u.contiguous) u.aligned = aligned_rows(runs, B * S, alignment);
  return u;
}

namespace {

void check_indices(const char* op, const mx::array& indices) {
  require(indices.ndim() == 1, "[", op, "] indices has shape ", indices.shape(), ", wants [n]");
  require(mx::issubdtype(indices.dtype(), mx::integer), "[", op, "] indices is ", indices.dtype(), ", wants integers");
}

// f(x), whose gradient throws if x has none: integers and booleans.
template <class F>
mx::array differentiable(const char* op, const mx::array& x, const F& f) {
  if (mx::issubdtype(x.dtype(), mx::inexact)) return f(x);
  auto forward = [f](const std::vector<mx::array>& in) { return std::vector<mx::array>{f(in[0])}; };
  auto backward = [op](const std::vector<mx::array>& in, const std::vector<mx::array>&,
                       const std::vector<mx::array>&) -> std::vector<mx::array> {
    fail("[", op, "] has no gradient for an input of dtype ", in[0].dtype());
  };
  return mx::custom_function(forward, backward)({x})[0];
}

}  // namespace

mx::array index_first_axis(const mx::array& x, const mx::array& indices, mx::StreamOrDevice s) {
  require(x.ndim() >= 1, "[index_first_axis] x is a scalar");
  check_indices("index_first_axis", indices);
  require(x.shape(0) > 0 || indices.size() == 0, "[index_first_axis] x has shape ", x.shape(), ", and there are ", indices.size(),
          " indices");
  return differentiable("index_first_axis", x, [=](const mx::array& from) { return mx::take(from, indices, 0, s); });
}

mx::array index_put_first_axis(const mx::array& v, const mx::array& indices, int first_axis_dim, mx::StreamOrDevice s) {
  check_indices("index_put_first_axis", indices);
  require(v.ndim() >= 1 && indices.shape(0) == v.shape(0), "[index_put_first_axis] v has shape ", v.shape(), ", indices has ",
          indices.shape(), ", wants one index a row of v");
  require(first_axis_dim >= 0 && (first_axis_dim > 0 || v.shape(0) == 0), "[index_put_first_axis] first_axis_dim is ", first_axis_dim,
          ", v has ", v.shape(0), " rows");
  auto shape = v.shape();
  shape[0] = first_axis_dim;
  auto update = v.shape();
  update.insert(update.begin() + 1, 1);
  if (v.size() == 0) return mx::zeros(shape, v.dtype(), s);
  return differentiable("index_put_first_axis", v, [=](const mx::array& rows) {
    return mx::scatter(mx::zeros(shape, rows.dtype(), s), indices, mx::reshape(rows, update, s), 0, s);
  });
}

mx::array unpad_input(const mx::array& x, const Unpadding& u, mx::StreamOrDevice s) {
  require(x.ndim() >= 2, "[unpad_input] x has shape ", x.shape(), ", wants [B, S, ...]");
  require(x.shape(0) + 1 == int(u.cu_seqlens.size()) && x.shape(1) == u.seqlen, "[unpad_input] x has shape ", x.shape(),
          ", the unpadding is of ", u.cu_seqlens.size() - 1, " sequences of ", u.seqlen, " positions");
  auto shape = x.shape();
  shape.erase(shape.begin());
  shape[0] = x.shape(0) * x.shape(1);
  return index_first_axis(mx::reshape(x, shape, s), u.aligned ? u.aligned->indices : u.indices, s);
}

std::pair<mx::array, Unpadding> unpad_input(const mx::array& x, const mx::array& mask, mx::StreamOrDevice s) {
  require(x.ndim() >= 2 && mask.ndim() == 2 && mask.shape(0) == x.shape(0) && mask.shape(1) == x.shape(1), "[unpad_input] x has shape ",
          x.shape(), ", mask has ", mask.shape(), ", want [B, S, ...] and [B, S]");
  auto u = unpadding(mask);
  auto rows = unpad_input(x, u, s);
  return {rows, std::move(u)};
}

mx::array unpad_input_only(const mx::array& x, const mx::array& mask, mx::StreamOrDevice s) { return unpad_input(x, mask, s).first; }

namespace {
// rows [n, ...], of which the first batch * seqlen are kept.
mx::array as_batch(const mx::array& rows, int batch, int seqlen, mx::StreamOrDevice s) {
  auto shape = rows.shape();
  shape[0] = batch * seqlen;
  const auto kept = mx::slice(rows, mx::Shape(shape.size(), 0), shape, s);
  shape[0] = seqlen;
  shape.insert(shape.begin(), batch);
  return mx::reshape(kept, shape, s);
}
}  // namespace

mx::array pad_input(const mx::array& rows, const mx::array& indices, int batch, int seqlen, mx::StreamOrDevice s) {
  require(batch >= 0 && seqlen >= 0, "[pad_input] batch is ", batch, ", seqlen is ", seqlen);
  return as_batch(index_put_first_axis(rows, indices, batch * seqlen, s), batch, seqlen, s);
}

mx::array pad_input(const mx::array& rows, const Unpadding& u, int batch, int seqlen, mx::StreamOrDevice s) {
  require(batch + 1 == int(u.cu_seqlens.size()) && seqlen == u.seqlen, "[pad_input] batch is ", batch, " and seqlen ", seqlen,
          ", the unpadding is of ", u.cu_seqlens.size() - 1, " sequences of ", u.seqlen, " positions");
  if (!u.aligned) return pad_input(rows, u.indices, batch, seqlen, s);
  return as_batch(index_put_first_axis(rows, u.aligned->places, batch * seqlen + 1, s), batch, seqlen, s);
}

}  // namespace m2bert::ops
