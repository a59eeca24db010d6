#include "m2bert/nn/embedding.h"

#include "m2bert/ops/embedding.h"

namespace m2bert::nn {

mx::array Embedding::operator()(const mx::array& ids) const {
  auto rows = ops::embedding_rows(weight, ids);
  if (weight_scale) return ops::rotate_columns(mx::astype(rows, mx::float32) * mx::expand_dims(mx::take(*weight_scale, ids, 0), -1));
  if (padding_idx_ < 0) return rows;
  auto is_padding = mx::expand_dims(mx::equal(ids, mx::array(padding_idx_, ids.dtype())), -1);
  return mx::where(is_padding, mx::stop_gradient(rows), rows);
}

void Embedding::visit(Visitor& v) { v.matrix("weight", weight, weight_scale); }

void Embedding::init_normal(float deviation, KeySequence& keys) {
  weight = normal(weight.shape(), deviation, keys);
  if (padding_idx_ >= 0) {
    auto row = mx::expand_dims(mx::equal(mx::arange(0, weight.shape(0), 1, mx::int32), mx::array(padding_idx_)), 1);
    weight = mx::where(row, mx::array(0.0f), weight);
  }
}

}  // namespace m2bert::nn
