#pragma once
// Vectors judged by what a logistic regression learns from few examples of each class, as in MTEB's classification tasks.
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "m2bert/eval/logistic_regression.h"
#include "m2bert/eval/results.h"

namespace m2bert::eval {

struct FewShotOptions {
  int samples_per_label = 8;  // of the training set; fewer, where a class has fewer
  int experiments = 10;       // with other samples each
  uint64_t seed = 0;          // of the samples
  LogisticOptions regression;
};

// The training samples of each experiment: indices of `labels`, drawn without replacement.
std::vector<std::vector<size_t>> draw_few_shots(std::span<const int32_t> labels, const FewShotOptions& options);

// Labelled vectors; vectors: [samples, dim].
struct LabelledVectors {
  std::span<const float> vectors;
  std::span<const int32_t> labels;
};

// Means over the experiments: "Accuracy", with an interval over the test samples (nullopt: none), "F1" (macro), and for two classes "AP",
// the average precision of the logits, and "AP of predictions", that of the predicted classes, which MTEB calls ap. Runs experiments on all
// cores; the numbers do not depend on how many. train: that of the indices in `shots`. Throws Error unless each experiment has two classes.
std::vector<Score> few_shot_scores(const LabelledVectors& train, const std::vector<std::vector<size_t>>& shots, const LabelledVectors& test,
                                   size_t dim, int classes, const LogisticOptions& regression,
                                   const std::optional<metrics::Bootstrap>& bootstrap);

}  // namespace m2bert::eval
