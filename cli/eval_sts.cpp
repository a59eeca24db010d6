// m2bert eval sts: whether the similarity of two texts' vectors agrees with human scores.
#include "m2bert/eval/sts.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>
#include <unordered_map>

#include "cli/eval.h"
#include "cli/eval_texts.h"
#include "m2bert/error.h"
#include "m2bert/io/interrupt.h"

namespace m2bert::cli {
namespace {

using search::Similarity;

data::LabelledData read_pairs(const std::string& path, const EvalTextsOption& option) {
  data::LabelledOptions options = labelled_options(option);
  options.kind = data::LabelKind::number;
  if (options.label.empty()) options.label = "score";
  data::LabelledData data = read_labelled_file(path, options);
  require(data.are_pairs(), path, ": has no second text; give its column with --pair-field, and that of the first with --text-field");
  require(data.size() >= 2, path, ": has one pair; a correlation wants at least two");
  const bool constant = std::ranges::all_of(data.values, [&](float score) { return score == data.values[0]; });
  require(!constant, path, ": every score is ", data.values[0], "; a correlation wants scores that differ");
  return data;
}

// The vectors of both columns. A text that several pairs have, as in the STS benchmark, is embedded once.
struct PairVectors {
  std::vector<float> first, second;
};

PairVectors vectors_of(const std::string& name, const data::LabelledData& data, const TextVectors& vectors) {
  std::vector<std::string> texts;
  std::unordered_map<std::string_view, size_t> places;
  for (const auto* column : {&data.texts, &data.pairs})
    for (const auto& text : *column)
      if (places.emplace(text, texts.size()).second) texts.push_back(text);
  const auto all = vectors(name, texts);
  const auto of = [&](const std::vector<std::string>& column) {
    std::vector<float> rows;
    for (const auto& text : column) {
      const auto row = std::span(all).subspan(places.at(text) * vectors.dim(), vectors.dim());
      rows.insert(rows.end(), row.begin(), row.end());
    }
    return rows;
  };
  return {of(data.texts), of(data.pairs)};
}

std::vector<eval::ResultRow> rows_of(const std::string& path, const data::LabelledData& data, const TextVectors& vectors,
                                     const EvalTextsOption& option) {
  const std::string name = std::filesystem::path(path).filename().string();
  const auto [a, b] = vectors_of(name, data, vectors);
  const std::vector<double> scores(data.values.begin(), data.values.end());
  std::vector<eval::ResultRow> rows;
  for (const auto similarity : {Similarity::cosine, Similarity::dot, Similarity::euclidean, Similarity::manhattan}) {
    const auto similarities = eval::pair_similarities(similarity, a, b, vectors.dim());
    rows.push_back({{name, search::name_of(similarity)},
                    eval::correlations(similarities, scores, option.results.bootstrap()),
                    {{"pairs", static_cast<int64_t>(data.size())}}});
  }
  return rows;
}

void run_sts(const EvalTextsOption& option, const Globals& globals) {
  check_eval_texts(option);
  io::install_interrupt_handlers();
  std::vector<data::LabelledData> files;
  for (const std::string& path : option.inputs) files.push_back(read_pairs(path, option));
  const TextVectors vectors(option);
  eval::Results results = vectors.results("Semantic textual similarity", {"data set", "similarity"});
  for (size_t i = 0; i < files.size(); ++i)
    for (auto& row : rows_of(option.inputs[i], files[i], vectors, option)) results.rows.push_back(std::move(row));
  show_results(results, option.results, globals);
}

}  // namespace

Run eval_sts(CLI::App& app, const Globals& globals) {
  const auto option = std::make_shared<EvalTextsOption>();
  add_eval_texts_options(app, *option, "FILE",
                         "JSON lines or tables of pairs with scores: sentence1, sentence2 and score, as in MTEB and\nthe STS benchmark",
                         true, "the score (default: score)");
  return [option, &globals] { run_sts(*option, globals); };
}

}  // namespace m2bert::cli
