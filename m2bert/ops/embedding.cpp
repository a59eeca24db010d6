#include "m2bert/ops/embedding.h"

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/dtype.h"
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

// The gradient of a table in half precision is summed in float32 too: a token in a thousand places of a batch would lose most of them.
mx::array take_rows(const mx::array& table, const mx::array& index, mx::StreamOrDevice s) {
  using Arrays = std::vector<mx::array>;
  auto forward = [=](const Arrays& in) { return Arrays{mx::take(in[0], in[1], 0, s)}; };
  if (!is_half(table.dtype())) return forward({table, index})[0];
  auto backward = [=](const Arrays& in, const Arrays& cotangents, const Arrays&) {
    const auto dy = mx::expand_dims(mx::astype(cotangents[0], mx::float32, s), -2, s);
    const auto sum = mx::scatter_add(mx::zeros(in[0].shape(), mx::float32, s), in[1], dy, 0, s);
    return Arrays{mx::astype(sum, in[0].dtype(), s), mx::zeros_like(in[1], s)};
  };
  return mx::custom_vjp(forward, backward)({table, index})[0];
}

}  // namespace

mx::array embedding_rows(const mx::array& table, const mx::array& index, mx::StreamOrDevice s) {
  require(table.ndim() == 2, "[embedding_rows] the table has shape ", table.shape(), ", wants [rows, H]");
  if (auto rows = backend_for(s).embedding_rows(table, index, mx::to_stream(s))) return *rows;
  return take_rows(table, index, s);
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
    auto row = mx::astype(take_rows(r.table.values, r.index, s), mx::float32, s);
    if (r.table.scale) row = rotate_columns(mx::multiply(row, mx::expand_dims(mx::take(*r.table.scale, r.index, 0, s), -1, s), s), s);
    sum = sum ? mx::add(*sum, row, s) : row;
  }
  auto floats = [&](const mx::array& a) { return mx::reshape(mx::astype(a, mx::float32, s), {-1}, s); };
  return mx::astype(layer_norm_fallback(*sum, std::nullopt, floats(norm.weight), floats(norm.bias), norm.eps, s), dtype, s);
}

}  // namespace m2bert::ops
