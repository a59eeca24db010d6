#include "m2bert/optim/groups.h"

#include <algorithm>

namespace m2bert::optim {

namespace {

bool has(const std::string& name, const char* part) { return name.find(part) != std::string::npos; }

bool is_vector(const nn::NamedArray& p) {
  return p.name.ends_with(".bias") || p.array->ndim() <= 1 || has(p.name, "LayerNorm.") || has(p.name, "layernorm.");
}

}  // namespace

std::vector<Group> make_groups(const std::vector<nn::NamedArray>& parameters, const GroupOptions& o) {
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
  return groups;
}

}  // namespace m2bert::optim
