#pragma once
// AdamW over parameter groups, with named state.
#include <string>
#include <vector>

#include "m2bert/ops/adamw.h"
#include "m2bert/optim/clip.h"
#include "m2bert/optim/groups.h"

namespace m2bert::optim {

enum class WeightDecay {
  // A step shrinks each value by lr_t / lr_0 * weight_decay. Source: composer.optim.DecoupledAdamW.
  decoupled,
  // A step shrinks each value by lr_t * weight_decay. Source: torch.optim.AdamW.
  by_learning_rate,
};

struct AdamWOptions {
  WeightDecay decay = WeightDecay::decoupled;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
};

class AdamW {
 public:
  // Keeps pointers to the arrays, which must outlive the optimizer. Moments start at zero.
  AdamW(std::vector<nn::NamedArray> parameters, std::vector<Group> groups, const AdamWOptions& options);

  // One update. grads: float32, in the order of the parameters; factor: the schedule's; norm: the global norm of the gradients, for
  // clipping.
  void step(nn::Arrays& grads, double factor, const Clipping& clipping, double norm);
  // The same before the host knows loss and norm, both lazy float32 scalars. Where one of them turns out to be NaN or infinite, parameters
  // and moments keep their values, and the caller takes back the step (set_steps).
  void step(nn::Arrays& grads, double factor, const Clipping& clipping, const mx::array& sum_of_squares, const mx::array& loss);

  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps) { steps_ = steps; }
  // The moments as "m.NAME" and "v.NAME", for saving and loading.
  std::vector<nn::NamedArray> state();
  const std::vector<nn::NamedArray>& parameters() const { return parameters_; }
  const std::vector<Group>& groups() const { return groups_; }

 private:
  void step(nn::Arrays& grads, double factor, ops::AdamWOptions how);

  std::vector<nn::NamedArray> parameters_;
  std::vector<Group> groups_;
  AdamWOptions options_;
  nn::Arrays m_, v_;
  int64_t steps_ = 0;
};

}  // namespace m2bert::optim
