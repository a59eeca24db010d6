// m2bert eval clustering: whether k-means on the vectors finds known classes.
#include "m2bert/eval/clustering.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <unordered_map>

#include "cli/choice.h"
#include "cli/eval.h"
#include "cli/eval_texts.h"
#include "cli/text_option.h"
#include "m2bert/data/bad_record.h"
#include "m2bert/data/json_lines.h"
#include "m2bert/error.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/json.h"
#include "m2bert/io/number_text.h"
#include "m2bert/metrics/clustering.h"
#include "m2bert/metrics/ranking.h"

namespace m2bert::cli {
namespace {

struct ClusteringCommand {
  EvalTextsOption texts;
  eval::KMeansOptions k_means;
};

// Texts that are clustered together.
struct ClusteringSet {
  std::vector<std::string> texts;
  std::vector<int32_t> labels;
  int classes = 0;
};

struct ClusteringFile {
  std::string name;
  std::vector<ClusteringSet> sets;
};

std::string label_name(const io::Tree& label, const std::string& where) {
  if (label.is_string()) return label.string();
  if (label.is_integer()) return std::to_string(label.integer());
  data::bad_record(where, ": \"labels\" wants strings or integers, got ", label.shown());
}

// A line of MTEB's layout: {"sentences": ["...", ...], "labels": ["...", ...]}.
ClusteringSet set_of(const io::Tree& line, const std::string& where) {
  const io::Tree *sentences = io::find_json(line, "sentences"), *labels = io::find_json(line, "labels");
  if (sentences == nullptr || !sentences->is_list()) data::bad_record(where, ": wants a list \"sentences\"");
  if (labels == nullptr || !labels->is_list()) data::bad_record(where, ": wants a list \"labels\"");
  if (sentences->size() != labels->size())
    data::bad_record(where, ": has ", io::counted(sentences->size(), "sentence"), " and ", io::counted(labels->size(), "label"));
  ClusteringSet set;
  std::unordered_map<std::string, int32_t> numbers;
  for (size_t i = 0; i < sentences->size(); ++i) {
    const io::Tree& text = sentences->items()[i];
    if (!text.is_string()) data::bad_record(where, ": \"sentences\" wants texts, got ", text.shown());
    set.texts.push_back(text.string());
    const auto number = static_cast<int32_t>(numbers.size());
    set.labels.push_back(numbers.emplace(label_name(labels->items()[i], where), number).first->second);
  }
  set.classes = static_cast<int>(numbers.size());
  if (set.classes < 2)
    data::bad_record(where, ": its sentences have ", io::counted(numbers.size(), "label"), "; a clustering wants at least two");
  return set;
}

bool has_sets(const std::string& path, const EvalTextsOption& option) {
  const auto format = option.format.empty() ? data::Format::automatic : data::parse_format(option.format);
  if (data::format_of(path, format) != data::Format::jsonl) return false;
  data::JsonLines lines(path, option.skip_bad);
  io::Tree first;
  return lines.next(first) && io::find_json(first, "sentences") != nullptr;
}

ClusteringFile read_sets(const std::string& path, const EvalTextsOption& option) {
  if (!option.text.empty() || !option.label.empty())
    throw UsageError("--text-field and --label-field are for files with a text a record; " + path +
                     " has lists \"sentences\" and \"labels\"");
  ClusteringFile file;
  data::JsonLines lines(path, option.skip_bad);
  while (lines.next([&](const io::Tree& line) { file.sets.push_back(set_of(line, lines.where())); })) continue;
  report_skipped(lines.skipped().count, lines.skipped().first);
  require(!file.sets.empty(), path, ": has no sentences that can be used");
  return file;
}

// A file with a text and a label a record.
ClusteringFile read_one_set(const std::string& path, const EvalTextsOption& option) {
  data::LabelledOptions options = labelled_options(option);
  options.kind = data::LabelKind::single;
  data::LabelledData data = read_labelled_file(path, options);
  require(!data.are_pairs(), path, ": has pairs of texts; name the column of the text to cluster with --text-field");
  require(data.label_names.size() >= 2, path, ": all texts have the same label; a clustering wants at least two");
  ClusteringFile file;
  file.sets.push_back({std::move(data.texts), std::move(data.labels), static_cast<int>(data.label_names.size())});
  return file;
}

ClusteringFile read_file(const std::string& path, const EvalTextsOption& option) {
  try {
    ClusteringFile file = has_sets(path, option) ? read_sets(path, option) : read_one_set(path, option);
    file.name = std::filesystem::path(path).filename().string();
    return file;
  } catch (const data::BadRecord& e) {
    fail(e.what(), skip_bad_remedy);
  }
}

// The mean over the sets, with an interval over them.
eval::Score score(const char* name, const std::vector<double>& values, const ResultOption& option) {
  eval::Score score{name, metrics::mean(values), std::nullopt};
  if (const auto bootstrap = option.bootstrap(); bootstrap && values.size() > 1)
    score.interval = metrics::bootstrap_interval_of_mean(values, *bootstrap);
  return score;
}

eval::ResultRow row_of(const ClusteringFile& file, const TextVectors& vectors, const ClusteringCommand& command) {
  std::vector<double> v_measures, homogeneities, completenesses;
  int64_t texts = 0;
  for (size_t i = 0; i < file.sets.size(); ++i) {
    const ClusteringSet& set = file.sets[i];
    const std::string name = file.sets.size() == 1 ? file.name : file.name + ", set " + std::to_string(i + 1);
    eval::KMeansOptions options = command.k_means;
    options.clusters = set.classes;
    const auto clusters = eval::k_means(vectors(name, set.texts), vectors.dim(), options).clusters;
    const auto v = metrics::homogeneity_completeness_v_measure(set.labels, clusters);
    v_measures.push_back(v.v_measure);
    homogeneities.push_back(v.homogeneity);
    completenesses.push_back(v.completeness);
    texts += static_cast<int64_t>(set.texts.size());
  }
  return {{file.name},
          {score("V-measure", v_measures, command.texts.results), score("Homogeneity", homogeneities, command.texts.results),
           score("Completeness", completenesses, command.texts.results)},
          {{"sets", static_cast<int64_t>(file.sets.size())}, {"texts", texts}}};
}

void run_clustering(const ClusteringCommand& command, const Globals& globals) {
  check_eval_texts(command.texts);
  io::install_interrupt_handlers();
  std::vector<ClusteringFile> files;
  for (const std::string& path : command.texts.inputs) files.push_back(read_file(path, command.texts));
  const TextVectors vectors(command.texts);
  eval::Results results = vectors.results("Clustering", {"data set"});
  results.settings.set("k_means", {{"restarts", command.k_means.restarts}, {"max_iterations", command.k_means.max_iterations}});
  for (const ClusteringFile& file : files) results.rows.push_back(row_of(file, vectors, command));
  show_results(results, command.texts.results, globals);
}

}  // namespace

Run eval_clustering(CLI::App& app, const Globals& globals) {
  const auto command = std::make_shared<ClusteringCommand>();
  add_eval_texts_options(app, command->texts, "FILE",
                         "JSON lines with lists \"sentences\" and \"labels\", each line a clustering of its own, as in MTEB;\n"
                         "or JSON lines or tables with a text and a label a record",
                         false, "the label");
  add_number(app, "--restarts", command->k_means.restarts, 1, 1 << 16, "Runs of k-means, of which the tightest counts (--seed)")
      ->capture_default_str();
  add_number(app, "--max-iterations", command->k_means.max_iterations, 1, 1 << 20, "Iterations of each")->capture_default_str();
  return [command, &globals] {
    command->k_means.seed = command->texts.results.seed;
    run_clustering(*command, globals);
  };
}

}  // namespace m2bert::cli
