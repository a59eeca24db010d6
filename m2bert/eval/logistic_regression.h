#pragma once
// Logistic regression with an L2 penalty: the model of scikit-learn's LogisticRegression, with which MTEB judges vectors.
#include <cstdint>
#include <span>
#include <vector>

#include "m2bert/eval/lbfgs.h"

namespace m2bert::eval {

struct LogisticOptions {
  double c = 1;  // inverse strength of the penalty |weights|² / (2 c), beside the sum of the samples' cross entropies. Intercepts are free
  LbfgsOptions solver;
};

// Two classes share one output, the logit of class 1; more classes have one each, with a softmax over them.
class LogisticRegression {
 public:
  // vectors: [samples, dim]; labels: a class per sample, from 0 to classes - 1. Throws Error unless at least two classes occur.
  LogisticRegression(std::span<const float> vectors, size_t dim, std::span<const int32_t> labels, int classes,
                     const LogisticOptions& options = {});

  // [samples, outputs()].
  std::vector<double> decision_function(std::span<const float> vectors) const;
  // The class of each vector.
  std::vector<int32_t> predict(std::span<const float> vectors) const;

  size_t outputs() const { return outputs_; }
  // [outputs(), dim + 1]; the last column is the intercept.
  const std::vector<double>& weights() const { return weights_; }
  bool converged() const { return converged_; }

 private:
  size_t dim_, outputs_;
  std::vector<double> weights_;
  bool converged_ = false;
};

}  // namespace m2bert::eval
