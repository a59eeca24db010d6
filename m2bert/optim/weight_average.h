#pragma once
// An exponential moving average of weights. Source: composer.algorithms.EMA.
#include <vector>

#include "m2bert/nn/module.h"

namespace m2bert::optim {

// The smoothing with which a weight's share in the average halves in `half_life` batches, if the average is updated every `interval`
// batches.
double smoothing_of_half_life(double half_life, double interval);

class WeightAverage {
 public:
  // Starts as a copy of the parameters. Keeps pointers to their arrays, which must outlive the average.
  explicit WeightAverage(std::vector<nn::NamedArray> parameters);

  // average = smoothing * average + (1 - smoothing) * parameter
  void update(double smoothing);
  // Exchanges averages and parameters; a second call undoes it.
  void swap();
  // The averages, under the names of their parameters.
  std::vector<nn::NamedArray> state();

 private:
  std::vector<nn::NamedArray> parameters_;
  nn::Arrays average_;
};

// The averages in place of the weights while the scope lives; null: nothing happens.
class SwappedAverage {
 public:
  explicit SwappedAverage(WeightAverage* average) : average_(average) {
    if (average_) average_->swap();
  }
  ~SwappedAverage() {
    if (average_) average_->swap();
  }
  SwappedAverage(const SwappedAverage&) = delete;
  SwappedAverage& operator=(const SwappedAverage&) = delete;

 private:
  WeightAverage* average_;
};

}  // namespace m2bert::optim
