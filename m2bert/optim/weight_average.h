#pragma once
// An exponential moving average of weights. Source: composer.algorithms.EMA.
#include <vector>

#include "m2bert/nn/module.h"

namespace m2bert::optim {

// The smoothing with which a weight's share halves in `half_life` batches when it is updated every `interval` batches.
double smoothing_of_half_life(double half_life, double interval);

class WeightAverage {
 public:
  // Starts as a copy of the parameters, whose arrays must stay where they are.
  explicit WeightAverage(std::vector<nn::NamedArray> parameters);

  // average = smoothing * average + (1 - smoothing) * parameter
  void update(double smoothing);
  // Puts the averages into the parameters and the parameters where the averages were; a second call undoes it.
  void swap();
  // The averages under the names of their parameters.
  std::vector<nn::NamedArray> state();

 private:
  std::vector<nn::NamedArray> parameters_;
  nn::Arrays average_;
};

}  // namespace m2bert::optim
