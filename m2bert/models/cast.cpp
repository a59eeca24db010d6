#include "m2bert/models/cast.h"

#include "m2bert/checkpoint/quantize.h"
#include "m2bert/error.h"
#include "m2bert/ops/cast.h"
#include "m2bert/ops/cpu_features.h"
#include "m2bert/ops/quantized.h"

namespace m2bert::models {

std::vector<nn::NamedArray> castable_weights(Model& model) {
  auto arrays = nn::named_arrays(model);
  std::erase_if(arrays, [](const nn::NamedArray& w) {
    const bool filter = w.name.find(".filter_fn") != std::string::npos;
    return w.role != nn::Role::parameter || filter || !mx::issubdtype(w.array->dtype(), mx::floating);
  });
  return arrays;
}

bool cast_weights(Model& model, mx::Dtype dtype) {
  const bool on_cpu = mx::default_device() == mx::Device::cpu, narrow = !on_cpu || ops::supports_bfloat16_gemm();
  if (dtype == mx::int8) {
    const bool wide = on_cpu && !ops::supports_int8_gemm();
    for (auto& m : nn::matrices(model)) {
      if (!m.scale->has_value() && !checkpoint::is_quantized(m.name, *m.weight)) continue;
      const auto quantized = m.scale->has_value() ? ops::Weight{*m.weight, *m.scale} : ops::quantize_weight(*m.weight);
      *m.weight = wide ? ops::dequantize_weight(quantized) : quantized.values;
      *m.scale = wide ? std::nullopt : quantized.scale;
    }
    // Attention is computed in float32 anyway, and float32 states make it more precise.
    model.set_activations(narrow && !wide && model.config().monarch_mixer_sequence_mixing ? mx::bfloat16 : mx::float32);
    return wide;
  }
  const bool wide = on_cpu && (dtype == mx::float16 || (dtype == mx::bfloat16 && !narrow));
  for (auto& w : castable_weights(model)) {
    const auto rounded = ops::cast(*w.array, dtype);
    *w.array = wide ? ops::cast(rounded, mx::float32) : rounded;
  }
  return wide;
}

ScopedCast::ScopedCast(Model& model, mx::Dtype dtype) : weights_(nn::named_arrays(model)) {
  require(mx::issubdtype(dtype, mx::floating), "[ScopedCast] the dtype is ", dtype, ", wants a floating dtype");
  for (const auto& w : weights_) originals_.push_back(*w.array);
  if (dtype == mx::float32) return;
  try {
    cast_weights(model, dtype);
  } catch (...) {
    restore();
    throw;
  }
}

ScopedCast::~ScopedCast() { restore(); }

void ScopedCast::restore() {
  for (size_t i = 0; i < weights_.size(); ++i) *weights_[i].array = originals_[i];
}

}  // namespace m2bert::models
