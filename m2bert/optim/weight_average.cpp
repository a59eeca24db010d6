#include "m2bert/optim/weight_average.h"

#include <cmath>
#include <utility>

#include "m2bert/ops/gradients.h"

namespace m2bert::optim {

double smoothing_of_half_life(double half_life, double interval) { return std::exp2(-interval / half_life); }

WeightAverage::WeightAverage(std::vector<nn::NamedArray> parameters) : parameters_(std::move(parameters)) {
  for (const auto& p : parameters_) average_.push_back(mx::copy(*p.array));
  mx::eval(average_);
}

void WeightAverage::update(double smoothing) {
  std::vector<mx::array*> averages;
  nn::Arrays now;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    averages.push_back(&average_[i]);
    now.push_back(*parameters_[i].array);
  }
  ops::axpby(averages, now, smoothing, 1 - smoothing);
}

void WeightAverage::swap() {
  for (size_t i = 0; i < parameters_.size(); ++i) std::swap(*parameters_[i].array, average_[i]);
}

std::vector<nn::NamedArray> WeightAverage::state() {
  std::vector<nn::NamedArray> all;
  for (size_t i = 0; i < parameters_.size(); ++i) all.push_back({parameters_[i].name, &average_[i], nn::Role::buffer});
  return all;
}

}  // namespace m2bert::optim
