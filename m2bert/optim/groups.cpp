#include "m2bert/optim/groups.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <string_view>

namespace m2bert::optim {

namespace {

bool has(const std::string& name, const char* part) { return name.find(part) != std::string::npos; }

bool is_vector(const nn::NamedArray& p) {
  return p.name.ends_with(".bias") || p.array->ndim() <= 1 || has(p.name, "LayerNorm.") || has(p.name, "layernorm.");
}

std::string name_of_level(int level, int layers) {
  if (level > layers) return "head";
  return level == 0 ? "embeddings" : "layer_" + std::to_string(level - 1);
}

// The group divided by levels, with their learning rates.
std::vector<Group> by_level(const Group& group, const std::vector<nn::NamedArray>& parameters, double decay, int layers) {
  std::map<int, Group, std::greater<>> levels;
  for (const size_t member : group.members) {
    const int level = level_of(parameters[member].name, layers);
    auto& part = levels[level];
    part.name = group.name + "_" + name_of_level(level, layers);
    part.learning_rate = group.learning_rate * std::pow(decay, layers + 1 - level);
    part.weight_decay = group.weight_decay;
    part.members.push_back(member);
  }
  std::vector<Group> groups;
  for (auto& [level, part] : levels) groups.push_back(std::move(part));
  return groups;
}

}  // namespace

int level_of(const std::string& name, int layers) {
  constexpr std::string_view kLayers = "encoder.layer.";
  if (has(name, "embeddings.")) return 0;
  const auto at = name.find(kLayers);
  return at == std::string::npos ? layers + 1 : 1 + std::stoi(name.substr(at + kLayers.size()));
}

std::vector<Group> make_groups(const std::vector<nn::NamedArray>& parameters, const GroupOptions& o, int layers) {
  Group all{"all", o.learning_rate, o.weight_decay, {}}, vectors{"no_decay", o.learning_rate, 0, {}};
  Group filters{"filters", 0, 0, {}}, positions{"filter_positions", 0, 0, {}};
  if (o.filters) {
    filters.learning_rate = o.filters->learning_rate;
    filters.weight_decay = o.filters->weight_decay;
    positions.learning_rate = o.filters->positions_learning_rate;
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    const auto& p = parameters[i];
    Group* group = o.no_decay_of_vectors && is_vector(p) ? &vectors : &all;
    if (o.filters && has(p.name, ".implicit_filter")) group = &filters;
    if (o.filters && has(p.name, ".pos_emb.")) group = &positions;
    group->members.push_back(i);
  }
  std::vector<Group> groups{all, vectors, filters, positions};
  std::erase_if(groups, [](const Group& g) { return g.members.empty(); });
  if (o.layer_decay == 1) return groups;
  std::vector<Group> levels;
  for (const auto& group : groups) {
    for (auto& part : by_level(group, parameters, o.layer_decay, layers)) levels.push_back(std::move(part));
  }
  return levels;
}

}  // namespace m2bert::optim
