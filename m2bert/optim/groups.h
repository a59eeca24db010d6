#pragma once
// Parameter groups: which learning rate and weight decay a parameter has.
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

// What the long convolutions' filters have for themselves (long_conv_kernel_learning_rate, hyena_lr_pos_emb, hyena_wd).
struct FilterRates {
  double learning_rate = 0, positions_learning_rate = 0, weight_decay = 0;
};

struct GroupOptions {
  double learning_rate = 0, weight_decay = 0;
  // Present: the networks of the filters and their positions z have rates of their own. The reference marks them so, but loses the marks
  // when it copies its first layer: there, and here by default, one group has all parameters.
  std::optional<FilterRates> filters;
  // Biases, norms and all other vectors are not decayed. The reference decays them.
  bool no_decay_of_vectors = false;
};

// Groups without a member are left out; each parameter is in one.
std::vector<Group> make_groups(const std::vector<nn::NamedArray>& parameters, const GroupOptions& options);

}  // namespace m2bert::optim
