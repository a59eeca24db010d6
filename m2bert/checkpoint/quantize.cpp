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

bool is_filter(const std::string& name) { return name.find(".filter_fn") != std::string::npos; }

bool is_matrix(const std::string& name, const mx::array& weight) {
  return name.ends_with(".weight") && (weight.ndim() == 2 || weight.ndim() == 3) && !name.ends_with("short_filter.weight");
}

void check_pair(const std::string& source, const std::string& name, const mx::array& weight, const mx::array& scale) {
  const size_t rows = weight.ndim() >= 2 && weight.shape(-1) > 0 ? weight.size() / size_t(weight.shape(-1)) : 0;
  require(weight.dtype() == mx::int8 && scale.dtype() == mx::float32 && scale.ndim() == 1 && scale.size() == rows && rows > 0, source,
          ": '", printable(name), "' is ", weight.dtype(), " of shape ", weight.shape(), ", its scales are ", scale.dtype(), " of shape ",
          scale.shape(), "; an int8 weight has one float32 scale for each of its rows");
  require(mx::all(mx::isfinite(scale)).item<bool>(), source, ": '", printable(scale_name(name)), "' has a scale that is not finite");
}

}  // namespace

std::optional<mx::Dtype> int8_checkpoint_dtype(const std::string& name, const mx::array& weight, bool monarch_mixer) {
  if (!is_matrix(name, weight) || is_filter(name)) return std::nullopt;
  constexpr std::string_view kInt8[] = {".word_embeddings.weight", ".predictions.decoder.weight", ".in_linear.weight"};
  const bool int8 = !monarch_mixer || std::ranges::any_of(kInt8, [&](std::string_view end) { return name.ends_with(end); });
  return int8 ? mx::int8 : mx::bfloat16;
}

std::string scale_name(const std::string& name) { return name + std::string(kScale); }

TensorMap quantize(const TensorMap& tensors) {
  const bool monarch_mixer = std::ranges::any_of(tensors, [](const auto& t) { return is_filter(t.first); });
  std::unordered_map<std::uintptr_t, ops::Weight> done;  // by id; `tensors` keeps the arrays alive
  TensorMap out;
  for (const auto& [name, a] : tensors) {
    const auto dtype = int8_checkpoint_dtype(name, a, monarch_mixer);
    if (!dtype || !mx::issubdtype(a.dtype(), mx::floating)) {
      out.emplace_back(name, a);
      continue;
    }
    auto found = done.find(a.id());
    if (found == done.end())
      found = done.emplace(a.id(), dtype == mx::int8 ? ops::quantize_weight(a) : ops::Weight(mx::astype(a, *dtype))).first;
    out.emplace_back(name, found->second.values);
    if (found->second.scale) out.emplace_back(scale_name(name), *found->second.scale);
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
      require(a.dtype() != mx::int8 || !is_matrix(name, a), source, ": '", printable(name), "' is int8 and has no scales: '",
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
