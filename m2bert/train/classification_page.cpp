#include "m2bert/train/classification_page.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>

#include "m2bert/io/html_page.h"
#include "m2bert/io/json.h"
#include "m2bert/io/tree.h"
#include "m2bert/io/utf8.h"
#include "m2bert/metrics/classification.h"

namespace m2bert::train {

namespace {

using io::html_text;
using tasks::Predictions;
using tasks::Problem;

constexpr int kLargestMatrix = 50;  // labels; a larger table cannot be read

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

std::string fixed(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "(none)" : text;
}

// Softmax of a row at one class.
double probability(const float* logits, int width, int at) {
  const double most = *std::max_element(logits, logits + width);
  double sum = 0;
  for (int i = 0; i < width; ++i) sum += std::exp(double(logits[i]) - most);
  return std::exp(double(logits[at]) - most) / sum;
}

std::vector<WrongExample> wrong_classes(const data::LabelledData& data, const Predictions& p) {
  std::vector<WrongExample> wrong;
  const auto predicted = tasks::predicted_classes(p);
  for (size_t i = 0; i < predicted.size(); ++i) {
    const auto label = size_t(p.targets[i]), found = size_t(predicted[i]);
    if (label == found) continue;
    const double score = probability(p.logits.data() + i * size_t(p.width), p.width, predicted[i]);
    wrong.push_back({uint32_t(i), data.label_names[label], data.label_names[found], score});
  }
  return wrong;
}

std::vector<WrongExample> wrong_label_sets(const data::LabelledData& data, const Predictions& p) {
  std::vector<WrongExample> wrong;
  const size_t width = size_t(p.width);
  for (size_t i = 0; i * width < p.logits.size(); ++i) {
    std::vector<std::string> labels, found;
    double surest = 0;
    for (size_t c = 0; c < width; ++c) {
      const double score = sigmoid(p.logits[i * width + c]);
      const bool has = p.targets[i * width + c] > 0.5F, says = score > 0.5;
      if (has) labels.push_back(data.label_names[c]);
      if (says) found.push_back(data.label_names[c]);
      if (has != says) surest = std::max(surest, says ? score : 1 - score);
    }
    if (surest > 0) wrong.push_back({uint32_t(i), joined(labels), joined(found), surest});
  }
  return wrong;
}

std::vector<WrongExample> errors(const Predictions& p) {
  std::vector<WrongExample> all;
  for (size_t i = 0; i < p.targets.size(); ++i)
    all.push_back({uint32_t(i), fixed(p.targets[i]), fixed(p.logits[i]), std::abs(double(p.logits[i]) - double(p.targets[i]))});
  return all;
}

std::string cell(const std::string& text, const char* tag = "td") { return std::string("<") + tag + ">" + text + "</" + tag + ">"; }

std::string matrix_html(const metrics::ConfusionMatrix& matrix, const std::vector<std::string>& names) {
  std::string out = "<h2>Confusion matrix</h2>\n<p>A row for each label, a column for each prediction.</p>\n<table><tr><th></th>";
  for (const auto& name : names) out += cell(html_text(name), "th");
  out += "</tr>\n";
  for (int i = 0; i < matrix.classes(); ++i) {
    out += "<tr>" + cell(html_text(names[size_t(i)]), "th");
    for (int j = 0; j < matrix.classes(); ++j) {
      const double share = matrix.labels(i) > 0 ? double(matrix.count(i, j)) / double(matrix.labels(i)) : 0;
      out += "<td style=\"background:rgb(" + std::string(i == j ? "43,138,62" : "217,72,15") + "," + fixed(0.7 * share) + ")\">" +
             std::to_string(matrix.count(i, j)) + "</td>";
    }
    out += "</tr>\n";
  }
  return out + "</table>\n";
}

std::string labels_html(const std::vector<metrics::PrecisionRecallF1>& each, const std::vector<std::string>& names) {
  std::string out = "<h2>Labels</h2>\n<table><tr><th>label</th><th>precision</th><th>recall</th><th>F1</th></tr>\n";
  for (size_t i = 0; i < each.size(); ++i)
    out += "<tr>" + cell(html_text(names[i])) + cell(fixed(each[i].precision)) + cell(fixed(each[i].recall)) + cell(fixed(each[i].f1)) +
           "</tr>\n";
  return out + "</table>\n";
}

std::string single_label_html(const data::LabelledData& data, const Predictions& p) {
  const std::vector<int32_t> labels(p.targets.begin(), p.targets.end());
  const metrics::ConfusionMatrix matrix(labels, tasks::predicted_classes(p), p.width);
  return (p.width <= kLargestMatrix ? matrix_html(matrix, data.label_names) : "") +
         labels_html(metrics::precision_recall_f1(matrix), data.label_names);
}

std::string multi_label_html(const data::LabelledData& data, const Predictions& p) {
  std::vector<int32_t> predicted;
  for (const float logit : p.logits) predicted.push_back(logit > 0 ? 1 : 0);
  const std::vector<int32_t> labels(p.targets.begin(), p.targets.end());
  const metrics::MultiLabelCounts counts(labels, predicted, p.width);
  return labels_html(metrics::precision_recall_f1(counts), data.label_names);
}

}  // namespace

std::vector<WrongExample> wrong_examples(const data::LabelledData& data, Problem problem, const Predictions& p) {
  auto wrong = problem == Problem::single_label  ? wrong_classes(data, p)
               : problem == Problem::multi_label ? wrong_label_sets(data, p)
                                                 : errors(p);
  std::ranges::stable_sort(wrong, std::greater<>(), &WrongExample::score);
  return wrong;
}

std::string wrong_examples_jsonl(const data::LabelledData& data, const std::vector<WrongExample>& wrong) {
  std::string lines;
  for (const auto& w : wrong) {
    io::Tree line{{"text", data.texts[w.text]}};
    if (data.are_pairs()) line.set("text_pair", data.pairs[w.text]);
    line.set("label", w.label);
    line.set("predicted", w.predicted);
    line.set("score", w.score);
    lines += io::to_json(line) + "\n";
  }
  return lines;
}

std::string classification_html(const data::LabelledData& data, Problem problem, const Predictions& p,
                                const std::vector<WrongExample>& wrong, size_t most) {
  std::string out = problem == Problem::single_label ? single_label_html(data, p) : "";
  if (problem == Problem::multi_label) out = multi_label_html(data, p);
  const bool numbers = problem == Problem::regression;
  out += numbers ? "<h2>Largest errors</h2>\n"
                 : "<h2>Wrong examples</h2>\n<p>" + std::to_string(wrong.size()) + " of " + std::to_string(data.size()) +
                       " texts; the most confident mistakes first.</p>\n";
  out += std::string("<table><tr><th>label</th><th>predicted</th><th>") + (numbers ? "error" : "probability") + "</th><th>text</th></tr>\n";
  for (size_t i = 0; i < std::min(most, wrong.size()); ++i) {
    const auto& w = wrong[i];
    const std::string text = data.texts[w.text] + (data.are_pairs() ? " | " + data.pairs[w.text] : "");
    out += "<tr>" + cell(html_text(w.label)) + cell(html_text(w.predicted)) + cell(fixed(w.score)) +
           cell(html_text(io::printable(text, 500))) + "</tr>\n";
  }
  return out + "</table>\n";
}

}  // namespace m2bert::train
