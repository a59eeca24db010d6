// m2bert.metrics: metrics of classification, rankings, numbers and clusterings on numpy arrays.
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "m2bert/error.h"
#include "m2bert/metrics/classification.h"
#include "m2bert/metrics/clustering.h"
#include "m2bert/metrics/language.h"
#include "m2bert/metrics/names.h"
#include "m2bert/metrics/ranking.h"
#include "m2bert/metrics/regression.h"
#include "python/bindings/bind.h"

namespace m2bert::python {
namespace {

template <class T>
using Vector = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using Matrix = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Classes = Vector<int32_t>;
using Numbers = Vector<double>;
using Cutoff = std::optional<size_t>;

template <class Array>
auto values_of(const Array& array) {
  return std::span(array.data(), array.size());
}

size_t rank_of(const Cutoff& k) { return k.value_or(metrics::kAllRanks); }

metrics::Average average_named(const std::string& name) {
  if (name == "binary") return metrics::Average::binary;
  if (name == "micro") return metrics::Average::micro;
  if (name == "macro") return metrics::Average::macro;
  if (name == "weighted") return metrics::Average::weighted;
  fail("average '", name, "': it can be 'binary', 'micro', 'macro' or 'weighted'");
}

// One more than the largest class.
int classes_of(const Classes& a, const Classes& b) {
  int32_t most = 0;
  for (const auto* array : {&a, &b})
    for (const int32_t value : values_of(*array)) most = std::max(most, value);
  return most + 1;
}

metrics::ConfusionMatrix confusion(const Classes& labels, const Classes& predictions) {
  return {values_of(labels), values_of(predictions), classes_of(labels, predictions)};
}

void require_same_shape(const Matrix<int32_t>& labels, const Matrix<int32_t>& predictions) {
  require(labels.shape(0) == predictions.shape(0) && labels.shape(1) == predictions.shape(1),
          "labels and predictions have different shapes");
}

metrics::MultiLabelCounts multi_label(const Matrix<int32_t>& labels, const Matrix<int32_t>& predictions) {
  require_same_shape(labels, predictions);
  return {values_of(labels), values_of(predictions), static_cast<int>(labels.shape(1))};
}

std::tuple<double, double, double> tuple_of(const metrics::PrecisionRecallF1& p) { return {p.precision, p.recall, p.f1}; }

void bind_classes(nb::module_& m) {
  m.def(
      "accuracy_score", [](const Classes& l, const Classes& p) { return metrics::accuracy_score(confusion(l, p)); }, "labels"_a,
      "predictions"_a);
  m.def(
      "accuracy_score", [](const Matrix<int32_t>& l, const Matrix<int32_t>& p) { return metrics::accuracy_score(multi_label(l, p)); },
      "labels"_a, "predictions"_a);
  m.def(
      "balanced_accuracy_score", [](const Classes& l, const Classes& p) { return metrics::balanced_accuracy_score(confusion(l, p)); },
      "labels"_a, "predictions"_a);
  m.def(
      "matthews_corrcoef", [](const Classes& l, const Classes& p) { return metrics::matthews_corrcoef(confusion(l, p)); }, "labels"_a,
      "predictions"_a);
  m.def(
      "precision_recall_f1",
      [](const Classes& l, const Classes& p, const std::string& average) {
        return tuple_of(metrics::precision_recall_f1(confusion(l, p), average_named(average)));
      },
      "labels"_a, "predictions"_a, "average"_a);
  m.def(
      "precision_recall_f1",
      [](const Matrix<int32_t>& l, const Matrix<int32_t>& p, const std::string& average) {
        return tuple_of(metrics::precision_recall_f1(multi_label(l, p), average_named(average)));
      },
      "labels"_a, "predictions"_a, "average"_a);
  m.def(
      "roc_auc_score", [](const Classes& l, const Numbers& s) { return metrics::roc_auc_score(values_of(l), values_of(s)); }, "labels"_a,
      "scores"_a);
  m.def(
      "average_precision_score",
      [](const Classes& l, const Numbers& s) { return metrics::average_precision_score(values_of(l), values_of(s)); }, "labels"_a,
      "scores"_a);
  m.def(
      "log_loss",
      [](const Classes& l, const Matrix<double>& p) { return metrics::log_loss(values_of(l), values_of(p), static_cast<int>(p.shape(1))); },
      "labels"_a, "probabilities"_a);
  m.def(
      "cross_entropy",
      [](const Classes& l, const Matrix<double>& p) {
        return metrics::cross_entropy(values_of(l), values_of(p), static_cast<int>(p.shape(1)));
      },
      "labels"_a, "logits"_a);
}

void bind_rankings(nb::module_& m) {
  m.def(
      "ndcg", [](const Classes& r, const Classes& j, const Cutoff& k) { return metrics::ndcg(values_of(r), values_of(j), rank_of(k)); },
      "ranked"_a, "judged"_a, "k"_a.none());
  m.def(
      "reciprocal_rank", [](const Classes& r, const Cutoff& k) { return metrics::reciprocal_rank(values_of(r), rank_of(k)); }, "ranked"_a,
      "k"_a.none());
  m.def(
      "average_precision",
      [](const Classes& r, const Classes& j, const Cutoff& k) {
        return metrics::average_precision(values_of(r), values_of(j), rank_of(k));
      },
      "ranked"_a, "judged"_a, "k"_a.none());
  m.def("precision", [](const Classes& r, size_t k) { return metrics::precision(values_of(r), k); }, "ranked"_a, "k"_a);
  m.def(
      "recall", [](const Classes& r, const Classes& j, size_t k) { return metrics::recall(values_of(r), values_of(j), k); }, "ranked"_a,
      "judged"_a, "k"_a);
  m.def(
      "r_precision", [](const Classes& r, const Classes& j) { return metrics::r_precision(values_of(r), values_of(j)); }, "ranked"_a,
      "judged"_a);
}

void bind_numbers(nb::module_& m) {
  const auto def = [&m](const char* name, double (*metric)(std::span<const double>, std::span<const double>), const char* x,
                        const char* y) {
    m.def(name, [metric](const Numbers& a, const Numbers& b) { return metric(values_of(a), values_of(b)); }, nb::arg(x), nb::arg(y));
  };
  def("pearsonr", &metrics::pearsonr, "x", "y");
  def("spearmanr", &metrics::spearmanr, "x", "y");
  def("mean_squared_error", &metrics::mean_squared_error, "labels", "predictions");
  def("mean_absolute_error", &metrics::mean_absolute_error, "labels", "predictions");
  def("r2_score", &metrics::r2_score, "labels", "predictions");
  m.def(
      "v_measure",
      [](const Classes& classes, const Classes& clusters) {
        const auto v = metrics::homogeneity_completeness_v_measure(values_of(classes), values_of(clusters));
        return std::tuple(v.homogeneity, v.completeness, v.v_measure);
      },
      "classes"_a, "clusters"_a);
  m.def("perplexity", &metrics::perplexity, "cross_entropy"_a);
  m.def("higher_is_better", [](const std::string& name) { return metrics::higher_is_better(name); }, "name"_a);
}

}  // namespace

void bind_metrics(nb::module_& m) {
  nb::module_ metrics = m.def_submodule("metrics");
  bind_classes(metrics);
  bind_rankings(metrics);
  bind_numbers(metrics);
}

}  // namespace m2bert::python
