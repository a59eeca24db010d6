#pragma once
// Parameter groups, with their learning rates and weight decay.
#include <optional>
#include <string>
#include <vector>

#include "m2bert/nn/module.h"

namespace m2bert::optim {

struct Group {
  std::string name;
  double learning_rate = 0, weight_decay = 0;
  std::vector<size_t> members;  // indices of the parameters
};

// Learning rates and weight decay of the long convolutions' filters (long_conv_kernel_learning_rate, hyena_lr_pos_emb, hyena_wd).
struct FilterRates {
  double learning_rate = 0, positions_learning_rate = 0, weight_decay = 0;
};

struct GroupOptions {
  double learning_rate = 0, weight_decay = 0;
  // If present, the filters' networks and their positions z form groups of their own. Upstream marks them so, but loses the marks when it
  // copies its first layer: there, and here by default, one group has all parameters.
  std::optional<FilterRates> filters;
  // No weight decay for biases, norms and all other vectors. Upstream decays them.
  bool no_decay_of_vectors = false;
  // Layer-wise learning rates: the heads have the full rate, each level below (the layers from the top, the embeddings last) this factor
  // of the level above it.
  double layer_decay = 1;
};

// The level of a parameter in a model: 0 for the embeddings, 1 + N for layer N, `layers` + 1 for the heads.
int level_of(const std::string& name, int layers);

// Each parameter is in exactly one group; empty groups are omitted. layers: of the model, for layer_decay.
std::vector<Group> make_groups(const std::vector<nn::NamedArray>& parameters, const GroupOptions& options, int layers = 0);

}  // namespace m2bert::optim
