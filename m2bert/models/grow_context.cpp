#include "m2bert/models/grow_context.h"

#include "m2bert/error.h"
#include "m2bert/nn/hyena_filter.h"

namespace m2bert::models {

namespace {

constexpr const char* kPositions = "bert.embeddings.position_embeddings.weight";

// The number of positions of a checkpoint's array, and their axis; 0 if it has none.
struct Along {
  int axis = 0, positions = 0;
};

Along positions_of(const std::string& name, const mx::array& a) {
  if (name == kPositions && a.ndim() == 2) return {0, a.shape(0)};
  if (name.ends_with("embeddings.position_ids") && a.ndim() == 2) return {1, a.shape(1)};
  if ((name.ends_with(".pos_emb.z") || name.ends_with(".pos_emb.t")) && a.ndim() == 3) return {1, a.shape(1)};
  return {};
}

int wanted_positions(const std::string& name, const Config& c) {
  const bool filter = name.find(".pos_emb.") != std::string::npos;
  return filter ? c.long_conv_l_max.value_or(0) : c.max_position_embeddings;
}

mx::array repeated(const mx::array& a, int axis, int times) { return mx::concatenate(nn::Arrays(size_t(times), a), axis); }

// The initial z of a filter with this many positions.
mx::array new_z(int positions, int emb_dim) {
  nn::HyenaFilterOptions o;
  o.d_model = 1;
  o.order = 1;
  o.emb_dim = emb_dim;
  o.l_max = positions;
  return nn::HyenaFilter(o).z;
}

mx::array grown_z(const mx::array& z, int times, GrowBy how) {
  const int old = z.shape(1);
  if (how == GrowBy::recompute) return mx::astype(new_z(old * times, z.shape(2)), z.dtype());
  const auto tiled = repeated(z, 1, times);
  if (how == GrowBy::tile) return tiled;
  return mx::concatenate({mx::zeros_like(z), mx::slice(tiled, {0, old, 0}, tiled.shape())}, 1);
}

mx::array grown(const std::string& name, const mx::array& a, int times, GrowBy how) {
  if (name == kPositions) return repeated(a, 0, times);
  if (name.ends_with(".z")) return grown_z(a, times, how);
  if (name.ends_with(".t")) {
    const int positions = a.shape(1) * times;
    return mx::astype(mx::reshape(mx::linspace(0, 1, positions), {1, positions, 1}), a.dtype());
  }
  const int positions = a.shape(1) * times;
  return mx::reshape(mx::arange(0, positions, 1, a.dtype()), {1, positions});
}

}  // namespace

GrowBy grow_by_named(const std::string& name, const std::string& where) {
  if (name == "tile") return GrowBy::tile;
  if (name == "reference") return GrowBy::reference;
  if (name == "recompute") return GrowBy::recompute;
  fail(where, ": \"", name, "\" is no way to grow; wants true (tile), tile, reference or recompute");
}

bool is_shorter(const checkpoint::TensorMap& weights, const Config& config) {
  for (const auto& [name, a] : weights) {
    const auto along = positions_of(name, a);
    if (along.positions > 0 && along.positions < wanted_positions(name, config)) return true;
  }
  return false;
}

checkpoint::TensorMap grow_context(checkpoint::TensorMap weights, const Config& config, GrowBy how) {
  for (auto& [name, a] : weights) {
    const int old = positions_of(name, a).positions, wanted = wanted_positions(name, config);
    if (old == 0 || old == wanted) continue;
    require(wanted > old && wanted % old == 0, "[grow_context] ", name, " has ", old, " positions, the new model ", wanted,
            ": the new length must be a multiple of the old one");
    a = grown(name, a, wanted / old, how);
  }
  return weights;
}

}  // namespace m2bert::models
