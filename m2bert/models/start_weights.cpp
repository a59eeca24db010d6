#include "m2bert/models/start_weights.h"

#include <algorithm>
#include <set>

#include "m2bert/checkpoint/match.h"
#include "m2bert/models/pretrained.h"

namespace m2bert::models {

namespace {

struct Part {
  const char* prefix;
  const char* name;
};
constexpr Part kParts[] = {{"cls.predictions.", "masked-LM head"}, {"classifier.", "classifier"}, {"bert.pooler.", "pooler"}};

// The model's own arrays of a part, with which the file is completed. Aliases follow their owner.
checkpoint::TensorMap initial_values(Model& model, const Part& part) {
  checkpoint::TensorMap own;
  for (const auto& a : nn::named_arrays(model)) {
    if (a.role != nn::Role::alias && a.name.starts_with(part.prefix)) own.emplace_back(a.name, *a.array);
  }
  return own;
}

// Whether the file's classifier is for other labels than the model's: for more, for fewer, or for some with other names.
bool has_other_labels(const Config& config, const checkpoint::TensorMap& weights, const std::vector<std::string>& labels) {
  const auto bias = std::ranges::find(weights, "classifier.bias", [](const auto& w) -> const std::string& { return w.first; });
  if (bias == weights.end()) return false;
  if (bias->second.size() != size_t(config.num_labels)) return true;
  return !labels.empty() && !config.labels.empty() && labels != config.labels;
}

}  // namespace

StartReport start_from(Model& model, checkpoint::TensorMap weights, const std::string& source, const std::vector<std::string>& labels) {
  drop_other_heads(weights, model.config(), model.head());
  std::erase_if(weights, [](const auto& w) { return w.first.starts_with("cls.seq_relationship."); });
  StartReport report;
  report.other_labels = has_other_labels(model.config(), weights, labels);
  if (report.other_labels) std::erase_if(weights, [](const auto& w) { return w.first.starts_with("classifier."); });
  report.loaded = weights.size();
  for (const auto& part : kParts) {
    if (std::ranges::any_of(weights, [&](const auto& w) { return w.first.starts_with(part.prefix); })) continue;
    const auto own = initial_values(model, part);
    if (own.empty()) continue;
    report.fresh.emplace_back(part.name);
    weights.insert(weights.end(), own.begin(), own.end());
  }
  checkpoint::match(model, weights, {.source = source});
  return report;
}

}  // namespace m2bert::models
