#include "m2bert/data/glue.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <optional>
#include <set>
#include <utility>

#include "m2bert/error.h"
#include "m2bert/io/hash.h"
#include "m2bert/io/log.h"
#include "m2bert/io/number_text.h"
#include "m2bert/io/utf8.h"

namespace m2bert::data {
namespace {

namespace fs = std::filesystem;
using Metrics = std::vector<GlueMetric>;

const std::vector<std::string> kZeroOne = {"0", "1"};
const std::vector<std::string> kEntailment = {"entailment", "not_entailment"};
const std::vector<std::string> kInference = {"entailment", "neutral", "contradiction"};

std::vector<GlueSplit> validation(const std::string& task) { return {{"validation", "glue_" + task, "dev", ""}}; }
std::vector<GlueSplit> test(const std::string& submission) { return {{"test", "", "test", submission}}; }

std::vector<GlueTask> made_tasks() {
  const Metrics accuracy = {GlueMetric::accuracy}, both = {GlueMetric::accuracy, GlueMetric::f1};
  std::vector<GlueTask> tasks = {
      {.name = "cola",
       .folder = "CoLA",
       .text = "sentence",
       .label_names = {"unacceptable", "acceptable"},
       .metrics = {GlueMetric::matthews}},
      {.name = "sst2", .folder = "SST-2", .text = "sentence", .label_names = {"negative", "positive"}, .metrics = accuracy},
      {.name = "mrpc",
       .folder = "MRPC",
       .text = "sentence1",
       .text_pair = "sentence2",
       .label_names = {"not_equivalent", "equivalent"},
       .metrics = both},
      {.name = "stsb",
       .folder = "STS-B",
       .text = "sentence1",
       .text_pair = "sentence2",
       .metrics = {GlueMetric::pearson, GlueMetric::spearman}},
      {.name = "qqp",
       .folder = "QQP",
       .text = "question1",
       .text_pair = "question2",
       .label_names = {"not_duplicate", "duplicate"},
       .metrics = both},
      {.name = "mnli", .folder = "MNLI", .text = "premise", .text_pair = "hypothesis", .label_names = kInference, .metrics = accuracy},
      {.name = "qnli", .folder = "QNLI", .text = "question", .text_pair = "sentence", .label_names = kEntailment, .metrics = accuracy},
      {.name = "rte", .folder = "RTE", .text = "sentence1", .text_pair = "sentence2", .label_names = kEntailment, .metrics = accuracy},
      {.name = "wnli",
       .folder = "WNLI",
       .text = "sentence1",
       .text_pair = "sentence2",
       .label_names = {"not_entailment", "entailment"},
       .metrics = accuracy},
      {.name = "ax",
       .folder = "AX",
       .text = "premise",
       .text_pair = "hypothesis",
       .label_names = kInference,
       .metrics = {GlueMetric::matthews}},
  };
  for (GlueTask& task : tasks) {
    task.official_text = task.text;
    task.official_text_pair = task.text_pair;
    task.official_label = task.is_regression() ? "score" : "label";
    task.evaluation = validation(task.name);
    task.test = test(task.folder + ".tsv");
  }
  const auto find = [&](const std::string& name) -> GlueTask& {
    return *std::find_if(tasks.begin(), tasks.end(), [&](const GlueTask& task) { return task.name == name; });
  };
  for (const char* name : {"cola", "sst2", "mrpc", "qqp", "wnli"}) find(name).official_labels = kZeroOne;
  find("qqp").official_label = "is_duplicate";
  for (const char* name : {"mnli", "ax"}) {
    find(name).official_text = "sentence1";
    find(name).official_text_pair = "sentence2";
  }
  GlueTask& mrpc = find("mrpc");
  mrpc.official_text = "#1 String";
  mrpc.official_text_pair = "#2 String";
  mrpc.official_label = "Quality";
  GlueTask& mnli = find("mnli");
  mnli.official_label = "gold_label";
  mnli.evaluation = {{"validation_matched", "glue_mnli", "dev_matched", ""},
                     {"validation_mismatched", "glue_mnli_mismatched", "dev_mismatched", ""}};
  mnli.test = {{"test_matched", "", "test_matched", "MNLI-m.tsv"}, {"test_mismatched", "", "test_mismatched", "MNLI-mm.tsv"}};
  GlueTask& ax = find("ax");
  ax.evaluation.clear();
  ax.test[0].official = "diagnostic";
  return tasks;
}

// Lower case, without - and _: "SST-2" and "sst2" are the same.
std::string plain_name(const std::string& name) {
  std::string out;
  for (const char c : name)
    if (c != '-' && c != '_') out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

std::vector<fs::path> listed(const fs::path& folder) {
  std::vector<fs::path> paths;
  std::error_code failed;
  for (fs::directory_iterator at(folder, failed), end; !failed && at != end; at.increment(failed)) paths.push_back(at->path());
  require(!failed, folder.string(), ": cannot list this folder: ", failed.message());
  std::sort(paths.begin(), paths.end());
  return paths;
}

std::vector<fs::path> task_folders(const fs::path& folder, const GlueTask& task) {
  std::vector<fs::path> out;
  for (const fs::path& path : listed(folder)) {
    const std::string name = plain_name(path.filename().string());
    const bool fits = name == plain_name(task.folder) || name == task.name || (task.name == "ax" && name == "diagnostic");
    if (fits && fs::is_directory(path)) out.push_back(path);
  }
  return out;
}

// "split.jsonl", or "split-00000-of-00002.parquet" and the others, which must all be there.
std::vector<fs::path> hub_files(const fs::path& folder, const std::string& split) {
  std::vector<fs::path> found;
  size_t wanted = 0;
  for (const fs::path& path : listed(folder)) {
    std::string name = path.filename().string();
    if (name.ends_with(".gz")) name.resize(name.size() - 3);
    const auto ending = std::find_if(name.rbegin(), name.rend(), [](char c) { return c == '.'; });
    const std::string stem = name.substr(0, ending == name.rend() ? name.size() : static_cast<size_t>(name.rend() - ending) - 1);
    if (!name.ends_with(".parquet") && !name.ends_with(".jsonl")) continue;
    if (stem == split) return {path};
    if (!stem.starts_with(split + "-")) continue;
    found.push_back(path);
    const size_t of = stem.rfind("-of-");
    if (of != std::string::npos) std::from_chars(stem.data() + of + 4, stem.data() + stem.size(), wanted);
  }
  require(found.empty() || wanted == 0 || found.size() == wanted, folder.string(), ": has ", found.size(), " files of \"", split,
          "\", not ", wanted, " as their names say");
  return found;
}

LabelledOptions hub_options(const GlueTask& task, bool is_test) {
  LabelledOptions options{.text = task.text, .text_pair = task.text_pair};
  options.kind = task.is_regression() ? LabelKind::number : LabelKind::single;
  options.label_names = task.label_names;
  options.integers_are_indices = true;
  options.allow_unlabelled = is_test;
  if (!is_test) options.label = "label";
  return options;
}

LabelledOptions official_options(const GlueTask& task, bool is_test) {
  LabelledOptions options{.text = task.official_text, .text_pair = task.official_text_pair};
  options.kind = task.is_regression() ? LabelKind::number : LabelKind::single;
  options.label_names = task.official_labels.empty() ? task.label_names : task.official_labels;
  options.allow_unlabelled = is_test;
  options.source.format = Format::tsv;
  options.source.quotes = false;
  if (!is_test) options.label = task.official_label;
  if (task.name == "cola" && !is_test) {  // source, label, the author's mark, sentence
    options.source.header = false;
    options.text = "4";
    options.label = "2";
  }
  return options;
}

template <class Value>
void append(std::vector<Value>& to, std::vector<Value>&& from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

void append(LabelledData& to, LabelledData&& from) {
  append(to.texts, std::move(from.texts));
  append(to.pairs, std::move(from.pairs));
  append(to.labels, std::move(from.labels));
  append(to.values, std::move(from.values));
  for (const uint64_t record : from.records) to.records.push_back(record);
  to.unlabelled += from.unlabelled;
}

// Keeps the examples for which `keep` is true, by their index.
template <class Keep>
void filter(LabelledData& data, Keep keep) {
  LabelledData out{.name = data.name, .kind = data.kind, .label_names = data.label_names};
  for (size_t i = 0; i < data.size(); ++i) {
    if (!keep(i)) continue;
    out.texts.push_back(std::move(data.texts[i]));
    out.pairs.push_back(std::move(data.pairs[i]));
    out.labels.push_back(data.labels[i]);
    out.records.push_back(data.records[i]);
  }
  data = std::move(out);
}

using Ids = std::pair<std::string, std::string>;

std::vector<Ids> read_ids(const fs::path& file, const std::string& first, const std::string& second, bool header) {
  const auto source = open_source(file, {.format = Format::tsv, .field = first, .keep = {second}, .header = header, .quotes = false});
  std::vector<Ids> ids;
  for (std::string id; source->next(id);) ids.emplace_back(id, source->kept().at(second).string());
  return ids;
}

// MRPC as Microsoft distributes it: one file to train on, of which GLUE names the pairs to evaluate on.
std::optional<LabelledData> read_microsoft(const GlueTask& task, const fs::path& folder, const std::string& split) {
  if (task.name != "mrpc") return std::nullopt;
  const fs::path file = folder / (split == "test" ? "msr_paraphrase_test.txt" : "msr_paraphrase_train.txt");
  if (!fs::exists(file)) return std::nullopt;
  LabelledData data = read_labelled(file, official_options(task, false));
  if (split == "test") return data;
  const std::vector<Ids> listed = read_ids(folder / "dev_ids.tsv", "1", "2", false), all = read_ids(file, "#1 ID", "#2 ID", true);
  const std::set<Ids> evaluated(listed.begin(), listed.end());
  filter(data, [&](size_t i) { return evaluated.contains(all.at(data.records[i])) == (split != "train"); });
  require(data.size() > 0, file.string(), ": dev_ids.tsv leaves no pair for \"", split, "\"");
  return data;
}

struct Wanted {
  std::string hub, official;
  bool is_test;
};

// The official training files, and QQP's file to evaluate on, have a few rows without all columns, which the usual readers pass over too.
bool has_bad_rows(const GlueTask& task, const Wanted& wanted) { return wanted.hub == "train" || (task.name == "qqp" && !wanted.is_test); }

LabelledData read_table_with_bad_rows(const fs::path& file, LabelledOptions options) {
  options.source.skip_bad = true;
  LabelledData data = read_labelled(file, options);
  require(data.skipped * 100 <= data.size(), data.first_skipped, " (and ", io::counted(data.skipped - 1, "further row"), ")");
  if (data.skipped > 0) io::warn(io::counted(data.skipped, "row"), " passed over; the first: ", data.first_skipped);
  return data;
}

std::optional<LabelledData> read_split(const GlueTask& task, const fs::path& folder, const Wanted& wanted) {
  const fs::path table = folder / (wanted.official + ".tsv");
  if (fs::exists(table)) {
    const LabelledOptions options = official_options(task, wanted.is_test);
    return has_bad_rows(task, wanted) ? read_table_with_bad_rows(table, options) : read_labelled(table, options);
  }
  if (auto data = read_microsoft(task, folder, wanted.hub)) return data;
  std::optional<LabelledData> data;
  for (const fs::path& file : hub_files(folder, wanted.hub)) {
    LabelledData part = read_labelled(file, hub_options(task, wanted.is_test));
    if (data) append(*data, std::move(part));
    else data = std::move(part);
  }
  return data;
}

LabelledData read_split(const GlueTask& task, const fs::path& folder, const std::vector<fs::path>& folders, const Wanted& wanted) {
  require(!folders.empty(), folder.string(), ": has no folder ", task.folder, " (official) or ", task.name, " (as on the hub)");
  for (const fs::path& candidate : folders) {
    if (auto data = read_split(task, candidate, wanted)) {
      data->label_names = task.label_names;
      return *std::move(data);
    }
  }
  fail(folders.front().string(), ": has no ", wanted.official, ".tsv, and no ", wanted.hub, "-*.parquet or ", wanted.hub, ".jsonl");
}

}  // namespace

std::string_view glue_metric_name(GlueMetric metric) {
  constexpr std::array<std::string_view, 5> names = {"accuracy", "f1", "matthews", "pearson", "spearman"};
  return names[static_cast<size_t>(metric)];
}

const std::vector<GlueTask>& glue_tasks() {
  static const std::vector<GlueTask> tasks = made_tasks();
  return tasks;
}

const GlueTask& glue_task(std::string_view name) {
  std::string names;
  for (const GlueTask& task : glue_tasks()) {
    if (task.name == name) return task;
    names += (names.empty() ? "" : ", ") + task.name;
  }
  fail("unknown GLUE task \"", io::printable(name, 40), "\"; there are ", names);
}

GlueFolder::GlueFolder(fs::path folder) : folder_(std::move(folder)) {
  require(fs::is_directory(folder_), folder_.string(), ": no such folder; it should have a folder for each GLUE task");
}

bool GlueFolder::has(const GlueTask& task) const { return !task_folders(folder_, task).empty(); }

std::string GlueFolder::hash(const GlueTask& task) const {
  std::string parts;
  for (const fs::path& folder : task_folders(folder_, task)) {
    std::set<fs::path> files;
    for (const auto& entry : fs::directory_iterator(folder))
      if (entry.is_regular_file()) files.insert(entry.path());
    for (const fs::path& file : files) parts += file.filename().string() + "\n" + io::hash_file(file) + "\n";
  }
  return io::hash128(parts);
}

LabelledData GlueFolder::train(const GlueTask& task) const {
  require(!task.evaluation.empty(), "the GLUE task ", task.name, " has no training data");
  return read_split(task, folder_, task_folders(folder_, task), {"train", "train", false});
}

LabelledData GlueFolder::evaluation(const GlueTask& task, const GlueSplit& split) const {
  return read_split(task, folder_, task_folders(folder_, task), {split.name, split.official, false});
}

LabelledData GlueFolder::test(const GlueTask& task, const GlueSplit& split) const {
  return read_split(task, folder_, task_folders(folder_, task), {split.name, split.official, true});
}

LabelledData GlueFolder::split(const GlueTask& task, const std::string& name) const {
  std::string names = task.evaluation.empty() ? "" : "train, ";
  if (name == "train" && !task.evaluation.empty()) return train(task);
  for (const GlueSplit& split : task.evaluation) {
    if (split.name == name) return evaluation(task, split);
    names += split.name + ", ";
  }
  for (const GlueSplit& split : task.test) {
    if (split.name == name) return test(task, split);
    names += split.name + ", ";
  }
  fail("the GLUE task ", task.name, " has no split \"", io::printable(name, 40), "\"; there are ", names.substr(0, names.size() - 2));
}

std::string glue_submission(const GlueTask& task, const std::vector<double>& predictions) {
  const auto& names = task.official_labels.empty() ? task.label_names : task.official_labels;
  std::string out = "index\tprediction\n";
  for (size_t i = 0; i < predictions.size(); ++i) {
    out += std::to_string(i) + "\t";
    out += task.is_regression() ? io::fixed_text(std::clamp(predictions[i], 0.0, 5.0), 3) : names.at(static_cast<size_t>(predictions[i]));
    out += "\n";
  }
  return out;
}

}  // namespace m2bert::data
