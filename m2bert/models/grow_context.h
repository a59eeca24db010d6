#pragma once
// A checkpoint's weights for longer texts. Source: the reference's expansion of positional embeddings.
#include <string>

#include "m2bert/checkpoint/tensor_file.h"
#include "m2bert/models/config.h"

namespace m2bert::models {

// How what belongs to positions becomes longer, from l to L = r l positions: position_embeddings [l, H] and the filters' z [1, l, emb_dim].
// pos_emb.t and position_ids are always made anew for the new length.
enum class GrowBy {
  tile,       // both are repeated r times, one after another
  reference,  // the same, but z's first l rows are zeros: what the reference's code does, by accident it seems
  recompute,  // position_embeddings are repeated; z is made anew for the new length, so that what it was trained to be is lost
};

// tile, reference or recompute; Error that begins with `where` for another word.
GrowBy grow_by_named(const std::string& name, const std::string& where);

// Whether the weights are those of a model for fewer positions than the config's.
bool is_shorter(const checkpoint::TensorMap& weights, const Config& config);

// The weights for the config's positions; unchanged where they have them already. Error: the new length is no multiple of the old one, or
// shorter.
checkpoint::TensorMap grow_context(checkpoint::TensorMap weights, const Config& config, GrowBy how);

}  // namespace m2bert::models
