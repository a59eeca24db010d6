#include "m2bert/metrics/classification.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "m2bert/error.h"
#include "m2bert/metrics/regression.h"
#include "m2bert/metrics/sum.h"

namespace m2bert::metrics {

namespace {

// 0 without cases, as scikit-learn's zero_division.
double ratio(double part, double cases) { return cases == 0 ? 0 : part / cases; }

void check_label(int32_t label, int classes, const char* what) {
  require(label >= 0 && label < classes, "[metrics] ", what, " ", label, " is not in 0 to ", classes - 1);
}

void check_labels(std::span<const int32_t> labels, size_t other, int classes, const char* what) {
  require(classes > 0, "[metrics] wants at least one class");
  require(!labels.empty(), "[metrics] wants at least one sample");
  require(labels.size() == other, "[metrics] there are ", labels.size(), " labels for ", other, " ", what);
  for (const int32_t label : labels) check_label(label, classes, "label");
}

void check_finite(std::span<const double> scores) {
  for (const double score : scores) require(std::isfinite(score), "[metrics] wants finite scores, got ", score);
}

struct Counts {
  int64_t true_positives, labels, predictions;
};

PrecisionRecallF1 scores_of(const Counts& c) {
  const auto right = static_cast<double>(c.true_positives);
  return {ratio(right, static_cast<double>(c.predictions)), ratio(right, static_cast<double>(c.labels)),
          ratio(2 * right, static_cast<double>(c.labels + c.predictions))};
}

std::vector<Counts> counts_of(const ConfusionMatrix& matrix) {
  std::vector<Counts> out;
  for (int c = 0; c < matrix.classes(); ++c) out.push_back({matrix.count(c, c), matrix.labels(c), matrix.predictions(c)});
  return out;
}

std::vector<Counts> counts_of(const MultiLabelCounts& counts) {
  std::vector<Counts> out;
  for (const auto& c : counts.classes())
    out.push_back({c.true_positives, c.true_positives + c.false_negatives, c.true_positives + c.false_positives});
  return out;
}

std::vector<PrecisionRecallF1> scores_of(const std::vector<Counts>& classes) {
  std::vector<PrecisionRecallF1> out;
  for (const auto& c : classes) out.push_back(scores_of(c));
  return out;
}

PrecisionRecallF1 micro(const std::vector<Counts>& classes) {
  Counts all{};
  for (const auto& c : classes) all = {all.true_positives + c.true_positives, all.labels + c.labels, all.predictions + c.predictions};
  return scores_of(all);
}

template <class Weight>
PrecisionRecallF1 mean(const std::vector<Counts>& classes, Weight weight) {
  PrecisionRecallF1 sum;
  double weights = 0;
  for (const auto& c : classes) {
    const auto one = scores_of(c);
    const double w = weight(c);
    sum.precision += w * one.precision;
    sum.recall += w * one.recall;
    sum.f1 += w * one.f1;
    weights += w;
  }
  return {ratio(sum.precision, weights), ratio(sum.recall, weights), ratio(sum.f1, weights)};
}

PrecisionRecallF1 averaged(const std::vector<Counts>& classes, Average average, size_t binary_classes) {
  switch (average) {
    case Average::binary:
      require(classes.size() == binary_classes, "[metrics] a binary average wants ", binary_classes, " classes, got ", classes.size());
      return scores_of(classes.back());
    case Average::micro: return micro(classes);
    case Average::macro: return mean(classes, [](const Counts&) { return 1.0; });
    case Average::weighted: return mean(classes, [](const Counts& c) { return static_cast<double>(c.labels); });
  }
  return {};
}

}  // namespace

ConfusionMatrix::ConfusionMatrix(std::span<const int32_t> labels, std::span<const int32_t> predictions, int classes) {
  check_labels(labels, predictions.size(), classes, "predictions");
  labels_.resize(static_cast<size_t>(classes));
  predictions_.resize(static_cast<size_t>(classes));
  for (size_t i = 0; i < labels.size(); ++i) {
    check_label(predictions[i], classes, "prediction");
    ++counts_[{labels[i], predictions[i]}];
    ++labels_[static_cast<size_t>(labels[i])];
    ++predictions_[static_cast<size_t>(predictions[i])];
  }
  samples_ = static_cast<int64_t>(labels.size());
}

int64_t ConfusionMatrix::count(int label, int prediction) const {
  const auto found = counts_.find({label, prediction});
  return found == counts_.end() ? 0 : found->second;
}

double accuracy_score(const ConfusionMatrix& matrix) {
  int64_t right = 0;
  for (int c = 0; c < matrix.classes(); ++c) right += matrix.count(c, c);
  return static_cast<double>(right) / static_cast<double>(matrix.samples());
}

double balanced_accuracy_score(const ConfusionMatrix& matrix) {
  double sum = 0;
  int occurring = 0;
  for (const auto& c : counts_of(matrix)) {
    if (c.labels == 0) continue;
    sum += scores_of(c).recall;
    ++occurring;
  }
  return sum / occurring;
}

double matthews_corrcoef(const ConfusionMatrix& matrix) {
  const auto n = static_cast<double>(matrix.samples());
  double right = 0, both = 0, labels = 0, predictions = 0;
  for (const auto& c : counts_of(matrix)) {
    const auto in_labels = static_cast<double>(c.labels), in_predictions = static_cast<double>(c.predictions);
    right += static_cast<double>(c.true_positives);
    both += in_labels * in_predictions;
    labels += in_labels * in_labels;
    predictions += in_predictions * in_predictions;
  }
  return ratio(right * n - both, std::sqrt((n * n - labels) * (n * n - predictions)));
}

PrecisionRecallF1 precision_recall_f1(const ConfusionMatrix& matrix, Average average) {
  auto classes = counts_of(matrix);
  if (average != Average::binary) std::erase_if(classes, [](const Counts& c) { return c.labels + c.predictions == 0; });
  return averaged(classes, average, 2);
}

std::vector<PrecisionRecallF1> precision_recall_f1(const ConfusionMatrix& matrix) { return scores_of(counts_of(matrix)); }

MultiLabelCounts::MultiLabelCounts(std::span<const int32_t> labels, std::span<const int32_t> predictions, int classes) {
  check_labels(labels, predictions.size(), 2, "predictions");
  require(classes > 0, "[metrics] wants at least one class");
  const auto width = static_cast<size_t>(classes);
  require(labels.size() % width == 0, "[metrics] ", labels.size(), " labels are no multiple of ", classes, " classes");
  classes_.resize(width);
  for (size_t row = 0; row < labels.size(); row += width) {
    bool exact = true;
    for (size_t c = 0; c < width; ++c) {
      const int32_t label = labels[row + c], prediction = predictions[row + c];
      check_label(prediction, 2, "prediction");
      exact = exact && label == prediction;
      classes_[c].true_positives += label & prediction;
      classes_[c].false_positives += prediction & ~label;
      classes_[c].false_negatives += label & ~prediction;
    }
    exact_ += exact;
    ++samples_;
  }
}

double accuracy_score(const MultiLabelCounts& counts) {
  return static_cast<double>(counts.exact()) / static_cast<double>(counts.samples());
}

PrecisionRecallF1 precision_recall_f1(const MultiLabelCounts& counts, Average average) { return averaged(counts_of(counts), average, 1); }

std::vector<PrecisionRecallF1> precision_recall_f1(const MultiLabelCounts& counts) { return scores_of(counts_of(counts)); }

double roc_auc_score(std::span<const int32_t> labels, std::span<const double> scores) {
  check_labels(labels, scores.size(), 2, "scores");
  check_finite(scores);
  const auto ranks = rankdata(scores);
  double positive = 0, rank_sum = 0;
  for (size_t i = 0; i < labels.size(); ++i) {
    positive += labels[i];
    rank_sum += labels[i] * ranks[i];
  }
  const double pairs = positive * (static_cast<double>(labels.size()) - positive);
  return pairs == 0 ? std::numeric_limits<double>::quiet_NaN() : (rank_sum - positive * (positive + 1) / 2) / pairs;
}

double average_precision_score(std::span<const int32_t> labels, std::span<const double> scores) {
  check_labels(labels, scores.size(), 2, "scores");
  check_finite(scores);
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  double found = 0, before = 0, sum = 0;  // positives so far, before this score, and their precisions
  for (size_t i = 0; i < order.size(); ++i) {
    found += labels[order[i]];
    if (i + 1 < order.size() && scores[order[i + 1]] == scores[order[i]]) continue;
    sum += (found - before) * (found / static_cast<double>(i + 1));
    before = found;
  }
  return ratio(sum, found);
}

double log_loss(std::span<const int32_t> labels, std::span<const double> probabilities, int classes) {
  const auto width = static_cast<size_t>(std::max(classes, 1));
  require(probabilities.size() % width == 0, "[metrics] ", probabilities.size(), " probabilities are no multiple of ", classes, " classes");
  check_labels(labels, probabilities.size() / width, classes, "rows of probabilities");
  for (const double p : probabilities) require(p >= 0 && p <= 1, "[metrics] ", p, " is no probability");
  const double eps = std::numeric_limits<double>::epsilon();
  return compensated_mean(labels.size(), [&](size_t i) {
    return -std::log(std::clamp(probabilities[i * width + static_cast<size_t>(labels[i])], eps, 1 - eps));
  });
}

double cross_entropy(std::span<const int32_t> labels, std::span<const double> logits, int classes) {
  const auto width = static_cast<size_t>(std::max(classes, 1));
  require(logits.size() % width == 0, "[metrics] ", logits.size(), " logits are no multiple of ", classes, " classes");
  check_labels(labels, logits.size() / width, classes, "rows of logits");
  check_finite(logits);
  return compensated_mean(labels.size(), [&](size_t i) {
    const auto row = logits.subspan(i * width, width);
    const double largest = *std::max_element(row.begin(), row.end());
    double sum = 0;
    for (const double logit : row) sum += std::exp(logit - largest);
    return std::log(sum) + (largest - row[static_cast<size_t>(labels[i])]);
  });
}

}  // namespace m2bert::metrics
