#include "m2bert/eval/classification.h"

#include <algorithm>
#include <numeric>

#include "m2bert/error.h"
#include "m2bert/io/log.h"
#include "m2bert/metrics/classification.h"
#include "m2bert/metrics/ranking.h"
#include "m2bert/random.h"

namespace m2bert::eval {
namespace {

// What an experiment finds.
struct Experiment {
  std::vector<int32_t> predictions;
  std::vector<double> logits;  // of two classes
  bool converged = true;
};

Experiment run_experiment(const LabelledVectors& train, const std::vector<size_t>& shots, const LabelledVectors& test, size_t dim,
                          int classes, const LogisticOptions& options) {
  std::vector<float> vectors;
  std::vector<int32_t> labels;
  for (const size_t shot : shots) {
    const auto row = train.vectors.subspan(shot * dim, dim);
    vectors.insert(vectors.end(), row.begin(), row.end());
    labels.push_back(train.labels[shot]);
  }
  const LogisticRegression regression(vectors, dim, labels, classes, options);
  Experiment experiment{regression.predict(test.vectors), {}, regression.converged()};
  if (classes == 2) experiment.logits = regression.decision_function(test.vectors);
  return experiment;
}

// For each test sample, the fraction of the experiments that predict it right.
std::vector<double> right_of(const std::vector<Experiment>& experiments, std::span<const int32_t> labels) {
  std::vector<double> right(labels.size());
  for (const Experiment& experiment : experiments)
    for (size_t i = 0; i < labels.size(); ++i)
      right[i] += (experiment.predictions[i] == labels[i]) / static_cast<double>(experiments.size());
  return right;
}

template <class Metric>
Score mean_score(const char* name, const std::vector<Experiment>& experiments, Metric metric) {
  std::vector<double> values;
  for (const Experiment& experiment : experiments) values.push_back(metric(experiment));
  return {name, metrics::mean(values), std::nullopt};
}

}  // namespace

std::vector<std::vector<size_t>> draw_few_shots(std::span<const int32_t> labels, const FewShotOptions& options) {
  std::vector<std::vector<size_t>> experiments;
  const int most = labels.empty() ? 0 : *std::ranges::max_element(labels) + 1;
  for (int e = 0; e < options.experiments; ++e) {
    Random random{options.seed, static_cast<uint64_t>(e)};
    std::vector<size_t> order(labels.size()), shots;
    std::iota(order.begin(), order.end(), size_t{0});
    shuffle(order, random);
    std::vector<int> drawn(static_cast<size_t>(most));
    for (const size_t i : order)
      if (drawn[static_cast<size_t>(labels[i])]++ < options.samples_per_label) shots.push_back(i);
    experiments.push_back(std::move(shots));
  }
  return experiments;
}

std::vector<Score> few_shot_scores(const LabelledVectors& train, const std::vector<std::vector<size_t>>& shots, const LabelledVectors& test,
                                   size_t dim, int classes, const LogisticOptions& regression,
                                   const std::optional<metrics::Bootstrap>& bootstrap) {
  for (const auto& indices : shots)
    require(std::ranges::any_of(indices, [&](size_t i) { return train.labels[i] != train.labels[indices[0]]; }),
            "[few_shot] wants training samples of at least two classes");
  std::vector<Experiment> experiments(shots.size());
#pragma omp parallel for schedule(dynamic)
  for (size_t e = 0; e < shots.size(); ++e) experiments[e] = run_experiment(train, shots[e], test, dim, classes, regression);

  const auto unfinished = std::ranges::count(experiments, false, &Experiment::converged);
  if (unfinished > 0)
    io::warn(unfinished, " of ", experiments.size(), " logistic regressions did not converge in ", regression.solver.max_iterations,
             " iterations (--max-iterations)");

  const auto right = right_of(experiments, test.labels);
  Score accuracy{"Accuracy", metrics::mean(right), std::nullopt};
  if (bootstrap) accuracy.interval = metrics::bootstrap_interval_of_mean(right, *bootstrap);
  std::vector<Score> scores{accuracy, mean_score("F1", experiments, [&](const Experiment& experiment) {
                              const metrics::ConfusionMatrix matrix(test.labels, experiment.predictions, classes);
                              return metrics::precision_recall_f1(matrix, metrics::Average::macro).f1;
                            })};
  if (classes != 2) return scores;
  scores.push_back(mean_score(
      "AP", experiments, [&](const Experiment& experiment) { return metrics::average_precision_score(test.labels, experiment.logits); }));
  scores.push_back(mean_score("AP of predictions", experiments, [&](const Experiment& experiment) {
    const std::vector<double> classes_predicted(experiment.predictions.begin(), experiment.predictions.end());
    return metrics::average_precision_score(test.labels, classes_predicted);
  }));
  return scores;
}

}  // namespace m2bert::eval
