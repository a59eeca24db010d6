#include "m2bert/ops/padding.h"

#include <algorithm>

#include "m2bert/error.h"

namespace m2bert::ops {

Unpadding unpadding(const mx::array& mask) {
  require(mask.ndim() == 2, "[unpadding] mask has shape ", mask.shape(), ", wants [B, S]");
  auto m = mx::contiguous(mx::astype(mx::not_equal(mask, mx::array(0, mask.dtype())), mx::uint8));
  m.eval();
  const int B = m.shape(0), S = m.shape(1);
  const auto* on = m.data<uint8_t>();
  std::vector<int> indices;
  Unpadding u{mx::array(0), {0}, 0};
  for (int b = 0; b < B; ++b) {
    for (int t = 0; t < S; ++t) {
      if (on[b * S + t]) indices.push_back(b * S + t);
    }
    u.max_seqlen = std::max(u.max_seqlen, int(indices.size()) - u.cu_seqlens.back());
    u.cu_seqlens.push_back(int(indices.size()));
  }
  u.indices = mx::array(indices.data(), {int(indices.size())}, mx::int32);
  return u;
}

mx::array index_first_axis(const mx::array& x, const mx::array& indices, mx::StreamOrDevice s) {
  require(x.ndim() >= 1, "[index_first_axis] x is a scalar");
  require(indices.ndim() == 1, "[index_first_axis] indices has shape ", indices.shape(), ", wants [n]");
  return mx::take(x, indices, 0, s);
}

mx::array index_put_first_axis(const mx::array& v, const mx::array& indices, int first_axis_dim, mx::StreamOrDevice s) {
  require(v.ndim() >= 1 && indices.ndim() == 1 && indices.shape(0) == v.shape(0), "[index_put_first_axis] v has shape ", v.shape(),
          ", indices has ", indices.shape(), ", wants one index a row of v");
  auto shape = v.shape();
  shape[0] = first_axis_dim;
  auto zeros = mx::zeros(shape, v.dtype(), s);
  if (v.shape(0) == 0) return zeros;
  auto update = v.shape();
  update.insert(update.begin() + 1, 1);
  return mx::scatter(zeros, indices, mx::reshape(v, update, s), 0, s);
}

mx::array unpad_input(const mx::array& x, const Unpadding& u, mx::StreamOrDevice s) {
  require(x.ndim() >= 2, "[unpad_input] x has shape ", x.shape(), ", wants [B, S, ...]");
  auto shape = x.shape();
  shape.erase(shape.begin());
  shape[0] = x.shape(0) * x.shape(1);
  return index_first_axis(mx::reshape(x, shape, s), u.indices, s);
}

mx::array pad_input(const mx::array& rows, const Unpadding& u, int batch, int seqlen, mx::StreamOrDevice s) {
  auto flat = index_put_first_axis(rows, u.indices, batch * seqlen, s);
  auto shape = flat.shape();
  shape[0] = seqlen;
  shape.insert(shape.begin(), batch);
  return mx::reshape(flat, shape, s);
}

}  // namespace m2bert::ops
