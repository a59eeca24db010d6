#include "m2bert/checkpoint/quantize.h"

#include <algorithm>
#include <unordered_map>

#include "m2bert/checkpoint/text.h"
#include "m2bert/error.h"
#include "m2bert/ops/quantized.h"

namespace m2bert::checkpoint {

namespace {

constexpr std::string_view kScale = "_scale";

bool is_scale(const std::string& name) { return name.ends_with(".weight_scale"); }

void check_pair(const std::string& source, const std::string& name, const mx::array& weight, const mx::array& scale) {
  const size_t rows = weight.ndim() >= 2 && weight.shape(-1) > 0 ? weight.size() / size_t(weight.shape(-1)) : 0;
  require(weight.dtype() == mx::int8 && scale.dtype() == mx::float32 && scale.ndim() == 1 && scale.size() == rows && rows > 0, source,
          ": '", printable(name), "' is ", weight.dtype(), " of shape ", weight.shape(), ", its scales are ", scale.dtype(), " of shape ",
          scale.shape(), "; an int8 weight has one float32 scale for each of its rows");
  require(mx::all(mx::isfinite(scale)).item<bool>(), source, ": '", printable(scale_name(name)), "' has a scale that is not finite");
}

}  // namespace

bool is_quantized(const std::string& name, const mx::array& weight) {
  if (!name.ends_with(".weight") || weight.ndim() < 2 || weight.ndim() > 3 || name.ends_with("short_filter.weight")) return false;
  return name.find(".filter_fn") == std::string::npos || name.ends_with(".6.weight");
}

std::string scale_name(const std::string& name) { return name + std::string(kScale); }

TensorMap quantize(const TensorMap& tensors) {
  std::unordered_map<std::uintptr_t, ops::Weight> done;  // by id; `tensors` keeps the arrays alive
  TensorMap out;
  for (const auto& [name, a] : tensors) {
    if (!is_quantized(name, a) || !mx::issubdtype(a.dtype(), mx::floating)) {
      out.emplace_back(name, a);
      continue;
    }
    auto found = done.find(a.id());
    if (found == done.end()) found = done.emplace(a.id(), ops::quantize_weight(a)).first;
    out.emplace_back(name, found->second.values);
    out.emplace_back(scale_name(name), *found->second.scale);
  }
  return out;
}

void check_scales(const TensorMap& tensors, const std::string& source) {
  std::unordered_map<std::string, const mx::array*> scales;
  for (const auto& [name, a] : tensors) {
    if (is_scale(name)) scales.emplace(name, &a);
  }
  for (const auto& [name, a] : tensors) {
    const auto scale = scales.find(scale_name(name));
    if (scale == scales.end()) {
      require(a.dtype() != mx::int8 || !is_quantized(name, a), source, ": '", printable(name), "' is int8 and has no scales: '",
              printable(scale_name(name)), "' is missing");
      continue;
    }
    check_pair(source, name, a, *scale->second);
    scales.erase(scale);
  }
  require(scales.empty(), source, ": '", scales.empty() ? "" : printable(scales.begin()->first),
          "' is the scale of a weight that is missing");
}

TensorMap dequantize(const TensorMap& tensors) {
  std::unordered_map<std::string, mx::array> scales;
  for (const auto& [name, a] : tensors) {
    if (is_scale(name)) scales.emplace(name, a);
  }
  std::unordered_map<std::uintptr_t, mx::array> done;
  TensorMap out;
  for (const auto& [name, a] : tensors) {
    if (is_scale(name)) continue;
    const auto scale = scales.find(scale_name(name));
    if (scale == scales.end()) {
      out.emplace_back(name, a);
      continue;
    }
    auto found = done.find(a.id());
    if (found == done.end()) found = done.emplace(a.id(), ops::dequantize_weight({a, scale->second})).first;
    out.emplace_back(name, found->second);
  }
  return out;
}

bool is_quantized(const TensorMap& tensors) {
  return std::ranges::any_of(tensors, [](const auto& t) { return is_scale(t.first); });
}

}  // namespace m2bert::checkpoint
