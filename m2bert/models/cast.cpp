#include "m2bert/models/cast.h"

#include <algorithm>
#include <string_view>

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

NarrowGemms narrow_gemms() {
  if (mx::default_device() != mx::Device::cpu) return {true, true};
  return {ops::supports_bfloat16_gemm(), ops::supports_int8_gemm()};
}

namespace {

// "bert.encoder.layer.3" of a weight in that layer; otherwise nothing.
std::string_view layer_of(std::string_view name) {
  constexpr std::string_view layer = ".layer.";
  const size_t at = name.find(layer);
  return at == name.npos ? std::string_view() : name.substr(0, name.find('.', at + layer.size()));
}

bool cast_to_int8(Model& model, NarrowGemms gemms) {
  const bool mixer = model.config().monarch_mixer_sequence_mixing;
  // The other matrices of a mixer are bfloat16. Where those would be float32, the int8 ones gain nothing.
  const bool narrow = gemms.int8 && (!mixer || gemms.bfloat16);
  for (auto& m : nn::matrices(model)) {
    const auto dtype = checkpoint::int8_checkpoint_dtype(m.name, *m.weight, mixer);
    ops::Weight weight{*m.weight, *m.scale};
    if (dtype == mx::int8 && !weight.scale) weight = ops::quantize_weight(weight.values);
    if (dtype != mx::int8 || !narrow) weight = {ops::dequantize_weight(weight)};
    if (dtype == mx::bfloat16) weight.values = ops::cast(weight.values, mx::bfloat16);
    if (dtype == mx::bfloat16 && !narrow) weight.values = ops::cast(weight.values, mx::float32);
    *m.weight = weight.values;
    *m.scale = weight.scale;
  }
  // Attention is computed in float32 anyway, and float32 states make it more precise.
  model.set_activations(mixer && narrow ? mx::bfloat16 : mx::float32);
  return !narrow;
}

}  // namespace

bool cast_weights(Model& model, mx::Dtype dtype, NarrowGemms gemms) {
  if (dtype == mx::int8) return cast_to_int8(model, gemms);
  const bool on_cpu = mx::default_device() == mx::Device::cpu;
  const bool wide = on_cpu && (dtype == mx::float16 || (dtype == mx::bfloat16 && !gemms.bfloat16));
  // Layer by layer: a layer's gradients need not wait for those of the whole model.
  const auto weights = castable_weights(model);
  for (auto first = weights.begin(); first != weights.end();) {
    const auto last =
        std::find_if(first, weights.end(), [&](const nn::NamedArray& w) { return layer_of(w.name) != layer_of(first->name); });
    std::vector<mx::array> arrays;
    for (auto w = first; w != last; ++w) arrays.push_back(*w->array);
    arrays = ops::cast_arrays(arrays, dtype);
    if (wide) arrays = ops::cast_arrays(arrays, mx::float32);
    for (size_t i = 0; first != last; ++first, ++i) *first->array = arrays[i];
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
