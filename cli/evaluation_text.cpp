#include "cli/evaluation_text.h"

#include <cmath>

#include "m2bert/io/number_text.h"

namespace m2bert::cli {
namespace {

// Metrics whose keys in --json are older than tasks; others have their own names.
std::string json_key(const std::string& metric) {
  if (metric == "LanguageCrossEntropy") return "cross_entropy";
  if (metric == "Perplexity") return "perplexity";
  return metric == "MaskedAccuracy" ? "accuracy" : metric;
}

}  // namespace

io::Tree json_number(double value) { return std::isfinite(value) ? io::Tree(value) : io::Tree(); }

io::Tree evaluation_tree(const train::Evaluation& evaluation) {
  io::Tree tree = io::Tree::map();
  for (const auto& metric : evaluation.metrics) tree.set(json_key(metric.name), json_number(metric.value));
  tree.set("samples", evaluation.samples);
  return tree;
}

std::string evaluation_text(const train::Evaluation& evaluation) {
  std::string text;
  for (const auto& metric : evaluation.metrics) {
    const bool cross_entropy = metric.name == "LanguageCrossEntropy";
    text += (text.empty() ? "" : ", ") + (cross_entropy ? "cross entropy" : json_key(metric.name)) + " " + io::fixed_text(metric.value, 4);
  }
  return text;
}

io::Tree evaluation_tree(const std::vector<train::Evaluation>& evaluations) {
  if (evaluations.size() == 1 && evaluations[0].label.empty()) return evaluation_tree(evaluations[0]);
  io::Tree tree = io::Tree::map();
  for (const auto& evaluation : evaluations) tree.set(evaluation.label, evaluation_tree(evaluation));
  return tree;
}

std::string evaluation_text(const std::vector<train::Evaluation>& evaluations) {
  std::string text;
  for (const auto& evaluation : evaluations)
    text += (text.empty() ? "" : "; ") + (evaluation.label.empty() ? "" : evaluation.label + ": ") + evaluation_text(evaluation);
  return text;
}

}  // namespace m2bert::cli
