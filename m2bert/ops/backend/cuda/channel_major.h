#pragma once
// Activations as channels by positions, and dtypes of what goes with them. No values move if they are in that layout already.
#include "m2bert/mx.h"
#include "m2bert/ops/quantized.h"

namespace m2bert::ops::cuda {

inline mx::array float32(const mx::array& a, mx::Stream s) { return mx::astype(a, mx::float32, s); }

inline bool is_bfloat16(const Weight& w) { return !w.scale && w.values.dtype() == mx::bfloat16; }

inline mx::array transposed(const mx::array& a, mx::Stream s) { return mx::swapaxes(a, -1, -2, s); }

// x [..., H] as [H, positions].
inline mx::array channel_major(const mx::array& x, mx::Stream s) {
  return mx::reshape(mx::moveaxis(x, -1, 0, s), {x.shape(-1), int(x.size() / size_t(x.shape(-1)))}, s);
}

// The same in memory, once, instead of a copy of a view for each kernel that reads it.
inline mx::array contiguous_channel_major(const mx::array& x, mx::Stream s) { return mx::contiguous(channel_major(x, s), false, s); }

// y [C, positions] in the shape of x, [..., H], but for the last axis.
inline mx::array position_major(const mx::array& y, const mx::array& x, mx::Stream s) {
  mx::Shape shape{y.shape(0)};
  shape.insert(shape.end(), x.shape().begin(), x.shape().end() - 1);
  return mx::moveaxis(mx::reshape(y, shape, s), 0, -1, s);
}

// weight x for a dense or block-diagonal weight ([nb, q, p]) and x [in, positions].
inline mx::array multiply(const mx::array& weight, const mx::array& x, mx::Stream s) {
  if (weight.ndim() == 2) return mx::matmul(weight, x, s);
  const auto y = mx::matmul(weight, mx::reshape(x, {weight.shape(0), weight.shape(2), x.shape(1)}, s), s);
  return mx::reshape(y, {weight.shape(0) * weight.shape(1), x.shape(1)}, s);
}

}  // namespace m2bert::ops::cuda
