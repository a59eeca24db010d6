// Computes the metrics that test_metrics.py compares. Each line of standard input is a case: the name of a metric, and vectors, each as its
// length and its values. Standard output has a line for each case: the values of the metric, or "error".
#include <functional>
#include <iomanip>
#include <iostream>
#include <map>
#include <sstream>

#include "m2bert/error.h"
#include "m2bert/metrics/bootstrap.h"
#include "m2bert/metrics/classification.h"
#include "m2bert/metrics/clustering.h"
#include "m2bert/metrics/ranking.h"
#include "m2bert/metrics/regression.h"

namespace {

using namespace m2bert;
using Doubles = std::vector<double>;
using Ints = std::vector<int32_t>;

struct Case {
  std::vector<Doubles> vectors;
  const Doubles& doubles(size_t i) const { return vectors.at(i); }
  Ints ints(size_t i) const { return {vectors.at(i).begin(), vectors.at(i).end()}; }
  int number(size_t i) const { return static_cast<int>(vectors.at(i).at(0)); }
};

Doubles flat(const std::vector<metrics::PrecisionRecallF1>& scores) {
  Doubles out;
  for (const auto& s : scores) out.insert(out.end(), {s.precision, s.recall, s.f1});
  return out;
}

// Labels, predictions, number of classes.
metrics::ConfusionMatrix matrix_of(const Case& c) { return {c.ints(0), c.ints(1), c.number(2)}; }

Doubles matrix_counts(const Case& c) {
  const auto matrix = matrix_of(c);
  Doubles out;
  for (int label = 0; label < matrix.classes(); ++label)
    for (int prediction = 0; prediction < matrix.classes(); ++prediction) out.push_back(double(matrix.count(label, prediction)));
  return out;
}

template <class Counts>
Doubles averages(const Counts& counts) {
  using metrics::Average;
  std::vector<metrics::PrecisionRecallF1> out = metrics::precision_recall_f1(counts);
  for (const auto average : {Average::micro, Average::macro, Average::weighted})
    out.push_back(metrics::precision_recall_f1(counts, average));
  return flat(out);
}

Doubles multilabel(const Case& c) {
  const metrics::MultiLabelCounts counts(c.ints(0), c.ints(1), c.number(2));
  Doubles out = averages(counts);
  out.push_back(metrics::accuracy_score(counts));
  return out;
}

// Relevances of the ranked documents, of the judged ones, k.
Doubles ranking(const Case& c) {
  const auto ranked = c.ints(0), judged = c.ints(1);
  const auto k = static_cast<size_t>(c.number(2));
  return {metrics::ndcg(ranked, judged, k), metrics::reciprocal_rank(ranked, k), metrics::average_precision(ranked, judged, k),
          metrics::precision(ranked, k),    metrics::recall(ranked, judged, k),  metrics::r_precision(ranked, judged),
          metrics::ndcg(ranked, judged),    metrics::reciprocal_rank(ranked),    metrics::average_precision(ranked, judged)};
}

// Scores; the ids are d0, d1, ...
Doubles trec_order(const Case& c) {
  std::vector<std::string> ids;
  for (size_t i = 0; i < c.doubles(0).size(); ++i) ids.push_back("d" + std::to_string(i));
  const auto order = metrics::trec_order(std::vector<float>(c.doubles(0).begin(), c.doubles(0).end()), ids);
  return {order.begin(), order.end()};
}

Doubles v_measure(const Case& c) {
  const auto v = metrics::homogeneity_completeness_v_measure(c.ints(0), c.ints(1));
  return {v.homogeneity, v.completeness, v.v_measure};
}

// Values, number of resamples.
Doubles bootstrap(const Case& c) {
  const auto interval = metrics::bootstrap_interval_of_mean(c.doubles(0), {.resamples = c.number(1)});
  return {interval.low, interval.high};
}

const std::map<std::string, std::function<Doubles(const Case&)>> all_metrics{
    {"confusion_matrix", matrix_counts},
    {"accuracy", [](const Case& c) { return Doubles{metrics::accuracy_score(matrix_of(c))}; }},
    {"balanced_accuracy", [](const Case& c) { return Doubles{metrics::balanced_accuracy_score(matrix_of(c))}; }},
    {"matthews", [](const Case& c) { return Doubles{metrics::matthews_corrcoef(matrix_of(c))}; }},
    {"averages", [](const Case& c) { return averages(matrix_of(c)); }},
    {"binary", [](const Case& c) { return flat({metrics::precision_recall_f1(matrix_of(c), metrics::Average::binary)}); }},
    {"multilabel", multilabel},
    {"roc_auc", [](const Case& c) { return Doubles{metrics::roc_auc_score(c.ints(0), c.doubles(1))}; }},
    {"average_precision", [](const Case& c) { return Doubles{metrics::average_precision_score(c.ints(0), c.doubles(1))}; }},
    {"log_loss", [](const Case& c) { return Doubles{metrics::log_loss(c.ints(0), c.doubles(1), c.number(2))}; }},
    {"cross_entropy", [](const Case& c) { return Doubles{metrics::cross_entropy(c.ints(0), c.doubles(1), c.number(2))}; }},
    {"pearsonr", [](const Case& c) { return Doubles{metrics::pearsonr(c.doubles(0), c.doubles(1))}; }},
    {"spearmanr", [](const Case& c) { return Doubles{metrics::spearmanr(c.doubles(0), c.doubles(1))}; }},
    {"mse", [](const Case& c) { return Doubles{metrics::mean_squared_error(c.doubles(0), c.doubles(1))}; }},
    {"mae", [](const Case& c) { return Doubles{metrics::mean_absolute_error(c.doubles(0), c.doubles(1))}; }},
    {"r2", [](const Case& c) { return Doubles{metrics::r2_score(c.doubles(0), c.doubles(1))}; }},
    {"ranking", ranking},
    {"trec_order", trec_order},
    {"v_measure", v_measure},
    {"bootstrap", bootstrap},
    {"quantile", [](const Case& c) { return Doubles{metrics::quantile(c.doubles(0), c.doubles(1).at(0))}; }},
};

std::string result(const std::string& line) {
  std::istringstream in(line);
  std::string name, number;
  in >> name;
  Case c;
  for (size_t n = 0; in >> n;) {
    Doubles values;
    for (; values.size() < n && in >> number;) values.push_back(std::stod(number));
    c.vectors.push_back(std::move(values));
  }
  std::ostringstream out;
  out << std::setprecision(17);
  try {
    for (const double value : all_metrics.at(name)(c)) out << value << " ";
  } catch (const Error&) {
    return "error";
  }
  return out.str();
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) std::cout << result(line) << "\n";
}
