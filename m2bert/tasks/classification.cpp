#include "m2bert/tasks/classification.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "m2bert/error.h"
#include "m2bert/metrics/classification.h"
#include "m2bert/metrics/regression.h"
#include "m2bert/nn/loss.h"
#include "m2bert/ops/cross_entropy.h"

namespace m2bert::tasks {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

Problem problem_of(const models::Config& config) {
  if (!config.problem_type) return config.num_labels == 1 ? Problem::regression : Problem::single_label;
  if (*config.problem_type == "regression") return Problem::regression;
  return *config.problem_type == "multi_label_classification" ? Problem::multi_label : Problem::single_label;
}

std::vector<int32_t> predicted_classes(const Predictions& p) {
  std::vector<int32_t> classes;
  for (auto row = p.logits.begin(); row != p.logits.end(); row += p.width)
    classes.push_back(int32_t(std::max_element(row, row + p.width) - row));
  return classes;
}

namespace {

std::vector<int32_t> to_integers(const std::vector<float>& values) { return {values.begin(), values.end()}; }
std::vector<double> to_doubles(const std::vector<float>& values) { return {values.begin(), values.end()}; }

std::vector<Metric> single_label_metrics(const Predictions& p) {
  const auto labels = to_integers(p.targets);
  const metrics::ConfusionMatrix matrix(labels, predicted_classes(p), p.width);
  std::vector<Metric> all = {
      {"MulticlassAccuracy", metrics::accuracy_score(matrix)},
      {"MulticlassF1Score", metrics::precision_recall_f1(matrix, metrics::Average::macro).f1},
      {"MatthewsCorrCoef", metrics::matthews_corrcoef(matrix)},
      {"CrossEntropy", metrics::cross_entropy(labels, to_doubles(p.logits), p.width)},
  };
  if (p.width != 2) return all;
  std::vector<double> scores;  // log odds of label 1
  for (size_t i = 0; i < labels.size(); ++i) scores.push_back(double(p.logits[2 * i + 1]) - double(p.logits[2 * i]));
  all.push_back({"BinaryF1Score", metrics::precision_recall_f1(matrix, metrics::Average::binary).f1});
  all.push_back({"BinaryAUROC", metrics::roc_auc_score(labels, scores)});
  all.push_back({"BinaryAveragePrecision", metrics::average_precision_score(labels, scores)});
  return all;
}

// Mean of -log sigmoid(logit) where the target is 1, of -log sigmoid(-logit) where it is 0.
double binary_cross_entropy(const Predictions& p) {
  double sum = 0;
  for (size_t i = 0; i < p.logits.size(); ++i) {
    const double l = p.logits[i];
    sum += std::max(l, 0.0) - l * double(p.targets[i]) + std::log1p(std::exp(-std::abs(l)));
  }
  return sum / double(p.logits.size());
}

std::vector<Metric> multi_label_metrics(const Predictions& p) {
  std::vector<int32_t> predicted;
  for (const float logit : p.logits) predicted.push_back(logit > 0 ? 1 : 0);
  const metrics::MultiLabelCounts counts(to_integers(p.targets), predicted, p.width);
  return {{"MultilabelExactMatch", metrics::accuracy_score(counts)},
          {"MultilabelF1Score", metrics::precision_recall_f1(counts, metrics::Average::micro).f1},
          {"MultilabelF1ScoreMacro", metrics::precision_recall_f1(counts, metrics::Average::macro).f1},
          {"CrossEntropy", binary_cross_entropy(p)}};
}

std::vector<Metric> regression_metrics(const Predictions& p) {
  const auto labels = to_doubles(p.targets), predicted = to_doubles(p.logits);
  const bool enough = labels.size() > 1;
  return {{"MeanSquaredError", metrics::mean_squared_error(labels, predicted)},
          {"MeanAbsoluteError", metrics::mean_absolute_error(labels, predicted)},
          {"PearsonCorrCoef", enough ? metrics::pearsonr(labels, predicted) : kNone},
          {"SpearmanCorrCoef", metrics::spearmanr(labels, predicted)},
          {"R2Score", metrics::r2_score(labels, predicted)}};
}

// The metrics of samples that are all the same, for their names.
Predictions any_sample(Problem problem, int width) {
  Predictions p{width, std::vector<float>(size_t(width), 0), {}};
  p.targets.assign(problem == Problem::single_label ? 1 : size_t(width), 0);
  return p;
}

}  // namespace

std::vector<Metric> classification_metrics(Problem problem, const Predictions& p) {
  const bool empty = p.targets.empty();
  const Predictions used = empty ? any_sample(problem, p.width) : p;
  auto all = problem == Problem::single_label  ? single_label_metrics(used)
             : problem == Problem::multi_label ? multi_label_metrics(used)
                                               : regression_metrics(used);
  if (empty)
    for (auto& metric : all) metric.value = kNone;
  return all;
}

Classification::Classification(models::Config config, std::vector<float> class_weights)
    : config_(std::move(config)), problem_(problem_of(config_)), class_weights_(std::move(class_weights)) {
  if (class_weights_.empty()) return;
  require(problem_ == Problem::single_label, "class weights are for problems with one label a sample");
  require(class_weights_.size() == size_t(config_.num_labels), "there are ", class_weights_.size(), " class weights for ",
          config_.num_labels, " labels");
}

Predictions Classification::predictions_of(const std::vector<float>& all) const {
  Predictions p;
  p.width = config_.num_labels;
  const size_t targets = problem_ == Problem::single_label ? 1 : size_t(p.width), row = size_t(p.width) + targets;
  require(all.size() % row == 0, "[Classification] ", all.size(), " predictions are not rows of ", row);
  for (auto at = all.begin(); at != all.end(); at += std::ptrdiff_t(row)) {
    p.logits.insert(p.logits.end(), at, at + p.width);
    p.targets.insert(p.targets.end(), at + p.width, at + std::ptrdiff_t(row));
  }
  return p;
}

mx::array Classification::expected(const data::Batch& batch, int first, int rows) const {
  if (problem_ != Problem::single_label) return models::targets_of(batch, first, rows);
  require(batch.labels.size() == size_t(batch.rows), "[Classification] there are ", batch.labels.size(), " labels for ", batch.rows,
          " rows");
  for (int i = first; i < first + rows; ++i) {
    const int32_t label = batch.labels[size_t(i)];
    require(label >= 0 && label < config_.num_labels, "[Classification] label ", label, " is not one of the model's ", config_.num_labels);
  }
  return mx::reshape(models::labels_of(batch, first, rows), {-1});
}

mx::array Classification::loss(const models::Model& model, const data::Batch& batch, int first, int rows, nn::Pass& pass) const {
  const auto logits = model.class_logits(models::inputs_of(batch, first, rows), pass);
  const auto labels = expected(batch, first, rows);
  if (problem_ == Problem::regression) return nn::mse(logits, labels);
  if (problem_ == Problem::multi_label) return nn::bce_with_logits(logits, labels);
  if (class_weights_.empty()) return nn::cross_entropy(logits, labels);
  const auto weights = mx::array(class_weights_.data(), {int(class_weights_.size())});
  return mx::mean(ops::cross_entropy_rows(logits, labels) * mx::take(weights, labels, 0));
}

void Classification::add_sums(MetricSums& sums, const models::Model& model, const data::Batch& batch, int first, int rows) const {
  auto pass = nn::Pass::without_padding();
  const auto logits = mx::astype(model.class_logits(models::inputs_of(batch, first, rows), pass), mx::float32);
  const auto targets = mx::reshape(mx::astype(expected(batch, first, rows), mx::float32), {rows, -1});
  const auto values = models::to_floats(mx::concatenate({logits, targets}, 1));
  sums.predictions.insert(sums.predictions.end(), values.begin(), values.end());
}

std::vector<Metric> Classification::eval_metrics(const MetricSums& sums) const {
  return classification_metrics(problem_, predictions_of(sums.predictions));
}

double Classification::head_flops(int64_t rows) const {
  const double h = config_.hidden_size;
  return double(rows) * 2 * h * (h + config_.num_labels);  // pooler and classifier
}

data::Batch Classification::dummy_batch(int rows, int length) const {
  data::Batch batch;
  batch.rows = rows;
  batch.length = length;
  const auto size = size_t(rows) * size_t(length);
  for (size_t i = 0; i < size; ++i) batch.input_ids.push_back(int32_t(i * 7919 % size_t(config_.vocab_size)));
  batch.attention_mask.assign(size, 1);
  if (problem_ == Problem::single_label) batch.labels.assign(size_t(rows), 0);
  else batch.targets.assign(size_t(rows) * size_t(config_.num_labels), 0);
  return batch;
}

}  // namespace m2bert::tasks
