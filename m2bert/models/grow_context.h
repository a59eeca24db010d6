#pragma once
// Extends a checkpoint's weights to longer sequences. Source: upstream's expansion of positional embeddings.
#include <string>

#include "m2bert/checkpoint/tensor_file.h"
#include "m2bert/models/config.h"

namespace m2bert::models {

// How position_embeddings [l, H] and the filters' z [1, l, emb_dim] are extended from l to L = r l positions. pos_emb.t and position_ids
// are always recomputed for the new length.
enum class GrowBy {
  tile,       // both are repeated r times
  reference,  // the same, but the first l rows of z are zeros: what upstream's code does, apparently by accident
  recompute,  // position_embeddings are repeated; z is recomputed for the new length, so its training is lost
};

// tile, reference or recompute. Throws Error, which begins with `where`, for any other name.
GrowBy grow_by_named(const std::string& name, const std::string& where);

// Whether the weights belong to a model for fewer positions than the config's.
bool is_shorter(const checkpoint::TensorMap& weights, const Config& config);

// The weights for the config's number of positions; arrays that already have it are unchanged. Throws Error if the new length is shorter,
// or not a multiple of the old one.
checkpoint::TensorMap grow_context(checkpoint::TensorMap weights, const Config& config, GrowBy how);

}  // namespace m2bert::models
