#include "m2bert/ops/attention_options.h"

#include <algorithm>
#include <cmath>

#include "m2bert/ops/dtype.h"

namespace m2bert::ops {

void check_attention(const char* op, const mx::array& q, const mx::array& k, const mx::array& v, const AttentionOptions& options,
                     const mx::Shape& scores) {
  require(is_float(q) && k.dtype() == q.dtype() && v.dtype() == q.dtype(), "[", op, "] q, k and v are ", q.dtype(), ", ", k.dtype(), ", ",
          v.dtype(), ", want one of float32, bfloat16, float16");
  require(q.shape(-1) > 0, "[", op, "] q has shape ", q.shape(), ": no columns");
  if (options.bias) {
    const auto& shape = options.bias->shape();
    bool fits = shape.size() == 4;
    for (size_t axis = 0; fits && axis < 4; ++axis) fits = shape[axis] == 1 || shape[axis] == scores[axis];
    require(fits, "[", op, "] bias has shape ", shape, ", which does not broadcast to the scores' ", scores);
    require(mx::issubdtype(options.bias->dtype(), mx::floating), "[", op, "] bias is ", options.bias->dtype(), ", wants floating point");
  }
  require(options.alibi_slopes.empty() || int(options.alibi_slopes.size()) == scores[1], "[", op, "] there are ",
          options.alibi_slopes.size(), " ALiBi slopes for ", scores[1], " heads");
  require(!options.scale || std::isfinite(*options.scale), "[", op, "] scale is ", options.scale.value_or(0));
  require(options.dropout >= 0 && options.dropout < 1, "[", op, "] dropout is ", options.dropout, ", wants 0 <= dropout < 1");
  if (options.dropout == 0) return;
  require(options.dropout_key.has_value(), "[", op, "] dropout is ", options.dropout, " and dropout_key is missing");
  const auto& key = *options.dropout_key;
  require(key.shape() == mx::Shape({2}) && key.dtype() == mx::uint32, "[", op, "] dropout_key is ", key.dtype(), " ", key.shape(),
          ", wants uint32 [2] (mx::random::key)");
}

StreamingInputs streaming_inputs(const mx::array& q, const mx::array& k, const mx::array& v, const AttentionOptions& options,
                                 mx::StreamOrDevice s) {
  auto as_float32 = [&](const mx::array& x) { return mx::astype(x, mx::float32, s); };
  StreamingInputs in{as_float32(q), as_float32(k), as_float32(v)};
  if (options.bias) in.bias = as_float32(*options.bias);
  if (options.dropout > 0) in.dropout_key = options.dropout_key;
  return in;
}

StreamingAttention streaming_options(const mx::array& q, const AttentionOptions& options) {
  return {options.scale.value_or(1 / std::sqrt(float(q.shape(-1)))), options.causal, options.alibi_slopes, options.dropout};
}

}  // namespace m2bert::ops
