#include "m2bert/ops/embedding.h"

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/layer_norm.h"

namespace m2bert::ops {

namespace {

void check(const std::vector<EmbeddingRows>& rows, const NormWeights& norm, mx::Dtype dtype) {
  require(!rows.empty(), "[embedding_norm] there are no tables");
  require(dtype == mx::float32 || dtype == mx::bfloat16, "[embedding_norm] the result is to be ", dtype, ", may be float32 or bfloat16");
  for (const auto& r : rows) {
    require(r.table.values.ndim() == 2 && size_t(r.table.values.shape(1)) == norm.weight.size(), "[embedding_norm] a table has shape ",
            r.table.values.shape(), ", the norm ", norm.weight.size(), " columns");
    require(!r.table.scale || r.table.scale->size() == size_t(r.table.values.shape(0)), "[embedding_norm] a table of ",
            r.table.values.shape(0), " rows has ", r.table.scale ? r.table.scale->size() : 0, " scales");
    require(mx::issubdtype(r.index.dtype(), mx::integer), "[embedding_norm] an index is ", r.index.dtype(), ", wants integers");
  }
  require(norm.bias.size() == norm.weight.size(), "[embedding_norm] the norm has ", norm.weight.size(), " weights and ", norm.bias.size(),
          " biases");
}

}  // namespace

mx::array embedding_rows(const mx::array& table, const mx::array& index, mx::StreamOrDevice s) {
  require(table.ndim() == 2, "[embedding_rows] the table has shape ", table.shape(), ", wants [rows, H]");
  if (auto rows = backend_for(s).embedding_rows(table, index, mx::to_stream(s))) return *rows;
  return mx::take(table, index, 0, s);
}

mx::array embedding_norm(const std::vector<EmbeddingRows>& rows, const NormWeights& norm, mx::Dtype dtype, mx::StreamOrDevice s) {
  check(rows, norm, dtype);
  if (auto y = backend_for(s).embedding_norm(rows, norm, dtype, mx::to_stream(s))) return *y;
  return embedding_norm_fallback(rows, norm, dtype, s);
}

mx::array embedding_norm_fallback(const std::vector<EmbeddingRows>& rows, const NormWeights& norm, mx::Dtype dtype, mx::StreamOrDevice s) {
  check(rows, norm, dtype);
  std::optional<mx::array> sum;
  for (const auto& r : rows) {
    auto row = mx::astype(mx::take(r.table.values, r.index, 0, s), mx::float32, s);
    if (r.table.scale) row = rotate_columns(mx::multiply(row, mx::expand_dims(mx::take(*r.table.scale, r.index, 0, s), -1, s), s), s);
    sum = sum ? mx::add(*sum, row, s) : row;
  }
  auto floats = [&](const mx::array& a) { return mx::reshape(mx::astype(a, mx::float32, s), {-1}, s); };
  return mx::astype(layer_norm_fallback(*sum, std::nullopt, floats(norm.weight), floats(norm.bias), norm.eps, s), dtype, s);
}

}  // namespace m2bert::ops
