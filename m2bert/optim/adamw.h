#pragma once
// AdamW over groups of parameters, with its state under names.
#include <string>
#include <vector>

#include "m2bert/optim/clip.h"
#include "m2bert/optim/groups.h"

namespace m2bert::optim {

enum class WeightDecay {
  // A step takes lr_t / lr_0 * weight_decay of each value. Source: composer.optim.DecoupledAdamW.
  decoupled,
  // A step takes lr_t * weight_decay of each value. Source: torch.optim.AdamW.
  by_learning_rate,
};

struct AdamWOptions {
  WeightDecay decay = WeightDecay::decoupled;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
};

class AdamW {
 public:
  // The arrays behind the names must stay where they are. Moments start at zero.
  AdamW(std::vector<nn::NamedArray> parameters, std::vector<Group> groups, const AdamWOptions& options);

  // One update. grads in the order of the parameters, float32; factor: the schedule's; norm: that of all gradients, for clipping.
  void step(nn::Arrays& grads, double factor, const Clipping& clipping, double norm);

  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps) { steps_ = steps; }
  // The moments as "m.NAME" and "v.NAME", for saving and loading.
  std::vector<nn::NamedArray> state();
  const std::vector<nn::NamedArray>& parameters() const { return parameters_; }
  const std::vector<Group>& groups() const { return groups_; }

 private:
  std::vector<nn::NamedArray> parameters_;
  std::vector<Group> groups_;
  AdamWOptions options_;
  nn::Arrays m_, v_;
  int64_t steps_ = 0;
};

}  // namespace m2bert::optim
