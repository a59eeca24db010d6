#include "m2bert/infer/model_input.h"

#include <algorithm>

namespace m2bert::infer {

models::Batch model_input(const Batch& batch) {
  const mx::Shape shape = {batch.rows(), batch.length};
  const bool one_type = std::all_of(batch.type_ids.begin(), batch.type_ids.end(), [](int32_t type) { return type == 0; });
  models::Batch input{mx::array(batch.ids.begin(), shape, mx::int32), mx::array(batch.mask.begin(), shape, mx::int32), std::nullopt};
  if (!one_type) input.token_type_ids = mx::array(batch.type_ids.begin(), shape, mx::int32);
  return input;
}

std::vector<float> to_floats(const mx::array& a) {
  mx::array values = mx::contiguous(mx::astype(a, mx::float32));
  values.eval();
  return {values.data<float>(), values.data<float>() + values.size()};
}

}  // namespace m2bert::infer
