#include "m2bert/models/inputs.h"

#include <algorithm>
#include <iterator>

#include "m2bert/error.h"
#include "m2bert/ops/host_array.h"
#include "m2bert/ops/padding.h"

namespace m2bert::models {

namespace {

// Rows [first, first + rows) of a batch's field.
mx::array rows_of(const data::Batch& batch, const char* field, const std::vector<int32_t>& values, int width, int first, int rows) {
  require(first >= 0 && rows >= 0 && first + rows <= batch.rows && values.size() == size_t(batch.rows) * size_t(width), "[Batch] ", field,
          " has ", values.size(), " values, wants ", batch.rows, " rows of ", width, " for rows ", first, " to ", first + rows);
  return ops::host_array(values.data() + size_t(first) * size_t(width), {rows, width});
}

}  // namespace

std::vector<uint8_t> Inputs::mask_values() const { return host_mask ? *host_mask : ops::read_mask(attention_mask); }

Inputs Inputs::cut(int length) const {
  const int B = input_ids.shape(0), L = input_ids.shape(1);
  auto first = [&](const mx::array& a) { return mx::slice(a, {0, 0}, {B, length}); };
  Inputs now{first(input_ids), first(attention_mask), std::nullopt};
  if (token_type_ids) now.token_type_ids = first(*token_type_ids);
  if (!host_mask) return now;
  auto& mask = now.host_mask.emplace();
  for (auto row = host_mask->begin(); row != host_mask->end(); row += L) mask.insert(mask.end(), row, row + length);
  return now;
}

Inputs inputs_of(const data::Batch& b, int first, int rows) {
  Inputs inputs{rows_of(b, "input_ids", b.input_ids, b.length, first, rows),
                rows_of(b, "attention_mask", b.attention_mask, b.length, first, rows), std::nullopt};
  auto& mask = inputs.host_mask.emplace();
  const auto* values = b.attention_mask.data() + size_t(first) * size_t(b.length);
  std::transform(values, values + size_t(rows) * size_t(b.length), std::back_inserter(mask), [](int32_t value) { return value != 0; });
  const bool one_type = std::ranges::all_of(b.token_type_ids, [](int32_t type) { return type == 0; });
  if (!one_type) inputs.token_type_ids = rows_of(b, "token_type_ids", b.token_type_ids, b.length, first, rows);
  return inputs;
}

Inputs inputs_of(const data::Batch& batch) { return inputs_of(batch, 0, batch.rows); }

mx::array labels_of(const data::Batch& batch, int first, int rows) {
  require(batch.rows > 0 && !batch.labels.empty(), "[Batch] there are no labels for ", batch.rows, " rows");
  return rows_of(batch, "labels", batch.labels, int(batch.labels.size() / size_t(batch.rows)), first, rows);
}

mx::array targets_of(const data::Batch& batch, int first, int rows) {
  const auto width = batch.rows > 0 ? batch.targets.size() / size_t(batch.rows) : 0;
  require(width > 0 && batch.targets.size() == width * size_t(batch.rows), "[Batch] there are ", batch.targets.size(), " targets for ",
          batch.rows, " rows");
  require(first >= 0 && rows >= 0 && first + rows <= batch.rows, "[Batch] has ", batch.rows, " rows, not rows ", first, " to ",
          first + rows);
  return ops::host_array(batch.targets.data() + size_t(first) * width, {rows, int(width)});
}

std::vector<float> to_floats(const mx::array& a) { return read_floats(as_floats(a)); }

mx::array as_floats(const mx::array& a) { return mx::contiguous(mx::astype(a, mx::float32)); }

std::vector<float> read_floats(mx::array floats) {
  floats.eval();
  return {floats.data<float>(), floats.data<float>() + floats.size()};
}

}  // namespace m2bert::models
