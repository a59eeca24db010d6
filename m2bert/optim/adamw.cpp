#include "m2bert/optim/adamw.h"

#include "m2bert/error.h"

namespace m2bert::optim {

AdamW::AdamW(std::vector<nn::NamedArray> parameters, std::vector<Group> groups, const AdamWOptions& options)
    : parameters_(std::move(parameters)), groups_(std::move(groups)), options_(options) {
  for (const auto& p : parameters_) {
    require(p.array->dtype() == mx::float32, "[AdamW] ", p.name, " is ", p.array->dtype(), "; parameters are trained in float32");
    m_.push_back(mx::zeros(p.array->shape()));
    v_.push_back(mx::zeros(p.array->shape()));
  }
}

void AdamW::step(nn::Arrays& grads, double factor, const Clipping& clipping, double norm) {
  ops::AdamWOptions how;
  how.gradient_scale = clip_factor(clipping, norm);
  how.gradient_limit = clip_limit(clipping);
  step(grads, factor, how);
}

void AdamW::step(nn::Arrays& grads, double factor, const Clipping& clipping, const mx::array& sum_of_squares, const mx::array& loss) {
  ops::AdamWOptions how;
  how.scale_array = clip_factor(clipping, sum_of_squares, loss);
  how.gradient_limit = clip_limit(clipping);
  step(grads, factor, how);
}

void AdamW::step(nn::Arrays& grads, double factor, ops::AdamWOptions how) {
  require(grads.size() == parameters_.size(), "[AdamW] ", grads.size(), " gradients for ", parameters_.size(), " parameters");
  ++steps_;
  how.beta1 = options_.beta1;
  how.beta2 = options_.beta2;
  how.eps = options_.eps;
  how.step = steps_;
  std::vector<ops::AdamWParameter> all;
  for (const auto& group : groups_) {
    const double rate = factor * group.learning_rate;
    const double decay = group.weight_decay * (options_.decay == WeightDecay::by_learning_rate ? rate : factor);
    for (const size_t i : group.members) all.push_back({parameters_[i].array, &grads[i], &m_[i], &v_[i], rate, decay});
  }
  ops::adamw_update(all, how);
}

std::vector<nn::NamedArray> AdamW::state() {
  std::vector<nn::NamedArray> all;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    all.push_back({"m." + parameters_[i].name, &m_[i], nn::Role::buffer});
    all.push_back({"v." + parameters_[i].name, &v_[i], nn::Role::buffer});
  }
  return all;
}

}  // namespace m2bert::optim
