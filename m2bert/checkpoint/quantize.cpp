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

}  // namespace

bool is_quantized(const std::string& name, const mx::array& weight) {
  if (!name.ends_with(".weight") || weight.ndim() < 2 || weight.ndim() > 3 || name.ends_with("short_filter.weight")) return false;
  return name.find(".filter_fn") == std::string::npos || name.ends_with(".6.weight");
}

std::string scale_name(const std::string& name) { return name + std::string(kScale); }

TensorMap quantize(const TensorMap& tensors) {
  std::unordered_map<std::uintptr_t, ops::Weight> done;  // by the id of arrays that `tensors` keeps alive
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
    const size_t rows = a.ndim() >= 2 ? a.size() / size_t(a.shape(-1)) : 0;
    require(a.dtype() == mx::int8 && scale->second.size() == rows, "'", printable(name), "' is ", a.dtype(), " of shape ", a.shape(),
            " with ", scale->second.size(), " scales; an int8 weight has one for each of its rows");
    auto found = done.find(a.id());
    if (found == done.end()) found = done.emplace(a.id(), ops::dequantize_weight({a, scale->second})).first;
    out.emplace_back(name, found->second);
    scales.erase(scale);
  }
  require(scales.empty(), "'", scales.empty() ? "" : printable(scales.begin()->first), "' is the scale of a weight that is not there");
  return out;
}

bool is_quantized(const TensorMap& tensors) {
  return std::ranges::any_of(tensors, [](const auto& t) { return is_scale(t.first); });
}

}  // namespace m2bert::checkpoint
