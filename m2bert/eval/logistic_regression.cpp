#include "m2bert/eval/logistic_regression.h"

#include <algorithm>
#include <cmath>

#include "m2bert/error.h"

namespace m2bert::eval {
namespace {

// weights: [dim + 1], the last of which is the intercept.
double logit(const double* weights, const float* vector, size_t dim) {
  double sum = weights[dim];
#pragma omp simd reduction(+ : sum)
  for (size_t i = 0; i < dim; ++i) sum += weights[i] * vector[i];
  return sum;
}

// Replaces the logits by the gradient of the sample's cross entropy, and returns the cross entropy.
double cross_entropy_of(std::span<double> logits, int32_t label) {
  if (logits.size() == 1) {
    const double z = logits[0], softplus = std::max(z, 0.0) + std::log1p(std::exp(-std::abs(z)));
    logits[0] = 1 / (1 + std::exp(-z)) - label;
    return softplus - label * z;
  }
  const double most = *std::ranges::max_element(logits), of_label = logits[static_cast<size_t>(label)];
  double sum = 0;
  for (double& z : logits) sum += z = std::exp(z - most);
  for (double& z : logits) z /= sum;
  logits[static_cast<size_t>(label)] -= 1;
  return std::log(sum) + most - of_label;
}

// The mean cross entropy plus the penalty, and their gradient.
struct Loss {
  std::span<const float> vectors;
  std::span<const int32_t> labels;
  size_t dim, outputs;
  double c;

  double operator()(std::span<const double> weights, std::span<double> gradient) const {
    const size_t width = dim + 1;
    const auto samples = static_cast<double>(labels.size());
    std::ranges::fill(gradient, 0.0);
    std::vector<double> logits(outputs);
    double loss = 0;
    for (size_t row = 0; row < labels.size(); ++row) {
      const float* vector = vectors.data() + row * dim;
      for (size_t k = 0; k < outputs; ++k) logits[k] = logit(weights.data() + k * width, vector, dim);
      loss += cross_entropy_of(logits, labels[row]) / samples;
      for (size_t k = 0; k < outputs; ++k) {
        const double error = logits[k] / samples;
        double* out = gradient.data() + k * width;
        for (size_t i = 0; i < dim; ++i) out[i] += error * vector[i];
        out[dim] += error;
      }
    }
    for (size_t i = 0; i < weights.size(); ++i) {
      if (i % width == dim) continue;
      loss += weights[i] * weights[i] / (2 * c * samples);
      gradient[i] += weights[i] / (c * samples);
    }
    return loss;
  }
};

}  // namespace

LogisticRegression::LogisticRegression(std::span<const float> vectors, size_t dim, std::span<const int32_t> labels, int classes,
                                       const LogisticOptions& options)
    : dim_(dim), outputs_(classes == 2 ? 1 : static_cast<size_t>(std::max(classes, 0))) {
  require(vectors.size() == labels.size() * dim, "[logistic_regression] ", vectors.size(), " values are no ", labels.size(),
          " vectors with ", dim, " dimensions");
  require(std::ranges::all_of(labels, [&](int32_t label) { return label >= 0 && label < classes; }),
          "[logistic_regression] wants labels from 0 to ", classes - 1);
  require(std::ranges::any_of(labels, [&](int32_t label) { return label != labels[0]; }),
          "[logistic_regression] wants samples of at least two classes");
  auto result =
      minimize_lbfgs(Loss{vectors, labels, dim_, outputs_, options.c}, std::vector<double>(outputs_ * (dim_ + 1)), options.solver);
  weights_ = std::move(result.x);
  converged_ = result.converged;
}

std::vector<double> LogisticRegression::decision_function(std::span<const float> vectors) const {
  std::vector<double> out;
  for (size_t at = 0; at < vectors.size(); at += dim_)
    for (size_t k = 0; k < outputs_; ++k) out.push_back(logit(weights_.data() + k * (dim_ + 1), vectors.data() + at, dim_));
  return out;
}

std::vector<int32_t> LogisticRegression::predict(std::span<const float> vectors) const {
  const auto scores = decision_function(vectors);
  std::vector<int32_t> out;
  for (auto row = scores.begin(); row != scores.end(); row += static_cast<std::ptrdiff_t>(outputs_)) {
    const auto end = row + static_cast<std::ptrdiff_t>(outputs_);
    out.push_back(outputs_ == 1 ? *row > 0 : static_cast<int32_t>(std::max_element(row, end) - row));
  }
  return out;
}

}  // namespace m2bert::eval
