#include "m2bert/train/glue_sweep.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "m2bert/data/glue.h"
#include "m2bert/error.h"
#include "m2bert/io/file.h"
#include "m2bert/io/hash.h"
#include "m2bert/io/html_page.h"
#include "m2bert/io/json.h"
#include "m2bert/io/number_text.h"
#include "m2bert/io/yaml.h"
#include "m2bert/io/yaml_writer.h"
#include "m2bert/train/recipe_keys.h"

namespace m2bert::train {

namespace fs = std::filesystem;
using io::Tree;

namespace {

// Upstream's defaults of a task. WNLI, which upstream leaves out, has those of RTE.
struct Defaults {
  const char* task;
  const char* eval_interval;
  const char* max_duration;
  int batch_size;
  double lr, wd;
};
constexpr std::array<Defaults, 9> kDefaults = {{
    {"mnli", "2300ba", "3ep", 48, 5e-5, 5e-6},
    {"rte", "100ba", "3ep", 16, 1e-5, 1e-6},
    {"qqp", "2000ba", "5ep", 16, 3e-5, 3e-6},
    {"cola", "250ba", "10ep", 32, 5e-5, 5e-6},
    {"mrpc", "100ba", "10ep", 32, 8e-5, 8e-6},
    {"qnli", "1000ba", "10ep", 16, 1e-5, 1e-6},
    {"sst2", "500ba", "3ep", 16, 3e-5, 3e-6},
    {"stsb", "200ba", "10ep", 32, 3e-5, 3e-6},
    {"wnli", "100ba", "3ep", 16, 1e-5, 1e-6},
}};
constexpr int kMaxSequenceLength = 256;
constexpr int kMicrobatch = 16;  // a fixed number, so that a run does not depend on how much memory is free

const std::vector<std::string> kFromMnli = {"rte", "mrpc", "stsb"};

bool is_among(const std::string& name, const std::vector<std::string>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

const Defaults& defaults_of(const Tree& tasks, const std::string& task) {
  for (const Defaults& defaults : kDefaults)
    if (task == defaults.task) return defaults;
  tasks.at(task).wants("a task of GLUE as its key: cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte or wnli");
}

Tree glue_loader(const fs::path& data, const std::string& task, const std::string& split, const std::string& label) {
  Tree loader{{"name", "glue"}, {"folder", fs::absolute(data).string()}, {"task", task}, {"split", split}};
  if (!label.empty()) loader.set("label", label);
  return loader;
}

Tree eval_loaders(const fs::path& data, const data::GlueTask& task) {
  Tree loaders = Tree::list();
  for (const data::GlueSplit& split : task.evaluation) loaders.push_back(glue_loader(data, task.name, split.name, split.label));
  return loaders;
}

// The arguments of upstream's jobs that a recipe may set.
const std::vector<std::string> kArguments = {"eval_interval", "max_sequence_length",          "max_duration",  "batch_size", "lr", "wd",
                                             "optim_name",    "save_num_checkpoints_to_keep", "save_interval", "pool_all"};

class Reader {
 public:
  Reader(const fs::path& recipe, const std::vector<std::string>& overrides, const GlueSweepOptions& options)
      : tree_(io::read_yaml(recipe, overrides)), keys_(tree_), options_(options), file_(recipe.string()) {}

  GlueSweep read() {
    if (!tree_.is_map()) tree_.wants("a map of keys");
    sweep_.name = keys_.get<std::string>("base_run_name", "glue");
    sweep_.folder = local_folder();
    sweep_.parallel = keys_.get("parallel", false);
    read_start();
    const Tree& tasks = keys_.at("tasks");
    if (!tasks.is_map() || tasks.size() == 0) tasks.wants("a map of tasks: mnli, rte, ...");
    for (const Tree::Member& member : tasks.members()) add_task(tasks, member.key);
    finish();
    return std::move(sweep_);
  }

 private:
  fs::path local_folder() {
    const Tree& folder = keys_.at("save_finetune_checkpoint_folder");
    keys_.find("save_finetune_checkpoint_prefix");
    if (folder.string().find("://") != std::string::npos) folder.wants("a folder of this machine");
    return fs::path(folder.string()).lexically_normal();
  }

  void read_start() {
    const Tree* start = keys_.find("starting_checkpoint_load_path");
    require(start != nullptr, where(tree_, "starting_checkpoint_load_path"),
            "is empty: fill in the checkpoint that pretraining wrote, as in ", "starting_checkpoint_load_path=runs/bert");
    start_ = start->string();
    only_after_mnli_ = start_.find("mnli") != std::string::npos;
    keys_.find("local_pretrain_checkpoint_folder");  // for downloads
    if (only_after_mnli_) sweep_.notes.push_back("the starting checkpoint is of MNLI: only RTE, MRPC and STS-B are run");
  }

  void add_task(const Tree& tasks, const std::string& name) {
    const Defaults& defaults = defaults_of(tasks, name);
    Tree nothing = Tree::map();
    const Tree& settings = tasks.at(name);
    const Tree* given = settings.find("trainer_kwargs");
    const Tree& arguments = given && given->is_map() ? *given : nothing;
    for (const Tree::Member* extra : arguments.unknown(kArguments))
      require(options_.allow_unknown, extra->value.where(), "is not an argument of these jobs; there are ", listed(kArguments));
    for (const Tree::Member* extra : settings.unknown({"seeds", "trainer_kwargs"}))
      require(options_.allow_unknown, extra->value.where(), "is not a key of a task; there are seeds and trainer_kwargs");
    read_pooling(arguments, name);
    if (only_after_mnli_ && !is_among(name, kFromMnli)) return;
    for (const uint64_t seed : seeds_of(settings)) add_job(defaults, arguments, seed);
  }

  // As upstream's script does, a task's pool_all also holds for the tasks after it.
  void read_pooling(const Tree& arguments, const std::string& name) {
    if (const Tree* pool = arguments.find("pool_all")) {
      pool_all_ = pool->boolean();
      pooled_by_ = name;
    } else if (pool_all_) {
      sweep_.notes.push_back(name + " has pool_all: " + (*pool_all_ ? "true" : "false") + " from " + pooled_by_ +
                             ", which stands before it, as in upstream's script; trainer_kwargs.pool_all sets another value");
    }
  }

  std::vector<uint64_t> seeds_of(const Tree& settings) {
    const auto standard = static_cast<uint64_t>(keys_.integer("default_seed", 42, 0));
    const Tree* seeds = settings.find("seeds");
    if (!seeds || seeds->is_null()) return {standard};
    std::vector<uint64_t> out;
    for (const Tree& seed : seeds->items()) {
      out.push_back(static_cast<uint64_t>(seed.integer(0, int64_t{1} << 53)));
      if (std::count(out.begin(), out.end(), out.back()) > 1) seed.wants("a seed that is not in the list already");
    }
    if (out.empty()) seeds->wants("one seed at least");
    return out;
  }

  void add_job(const Defaults& defaults, const Tree& arguments, uint64_t seed) {
    GlueJob job;
    job.task = defaults.task;
    job.seed = seed;
    job.folder = sweep_.folder / ("task=" + job.task) / ("seed=" + std::to_string(seed));
    job.keep_model = options_.keep_models || arguments.get<int64_t>("save_num_checkpoints_to_keep", -1) != 0;
    job.starts_from_mnli = options_.start_from_mnli && is_among(job.task, kFromMnli);
    job.recipe = recipe_of(job, defaults, arguments);
    sweep_.jobs.push_back(std::move(job));
  }

  Tree recipe_of(const GlueJob& job, const Defaults& defaults, const Tree& arguments) {
    const data::GlueTask& task = data::glue_task(job.task);
    const int batch = static_cast<int>(arguments.get<int64_t>("batch_size", defaults.batch_size));
    Tree recipe{{"run_name", sweep_.name + "_task=" + job.task + "_seed=" + std::to_string(job.seed)},
                {"seed", job.seed},
                {"precision", precision_of(job.task)},
                {"max_seq_len", arguments.get<int64_t>("max_sequence_length", kMaxSequenceLength)},
                {"task", "classification"},
                {"model", model_of(task)},
                {"load_path", start_},
                {"load_weights_only", true},
                {"load_ignore_keys", Tree::list({Tree("state/model/model.classifier*")})},
                {"train_loader", glue_loader(options_.data, task.name, "train", "")},
                {"eval_loader", eval_loaders(options_.data, task)},
                {"global_train_batch_size", batch},
                {"device_train_microbatch_size", keys_.integer("device_train_microbatch_size", std::min(batch, kMicrobatch), 1)},
                {"device_eval_batch_size", batch},
                {"max_duration", arguments.get<std::string>("max_duration", defaults.max_duration)},
                {"eval_interval", arguments.get<std::string>("eval_interval", defaults.eval_interval)},
                {"optimizer", optimizer_of(defaults, arguments)},
                {"scheduler", keys_.at("scheduler")}};
    for (const char* key : {"algorithms", "callbacks", "loggers"})
      if (const Tree* value = keys_.find(key)) recipe.set(key, *value);
    recipe.set("save_folder", fs::absolute(job.folder).string());
    recipe.set("save_interval", arguments.get<std::string>("save_interval", "1ep"));
    recipe.set("save_num_checkpoints_to_keep", 1);
    recipe.set("autoresume", true);
    recipe.set("progress_bar", false);
    return recipe;
  }

  // Upstream computes STS-B in float32.
  std::string precision_of(const std::string& task) {
    const Tree* precision = keys_.find("precision");
    if (task == "stsb" || !precision) return "fp32";
    return precision->string() == "bf16" ? "amp_bf16" : precision->string();
  }

  Tree model_of(const data::GlueTask& task) {
    Tree model = keys_.at("model");
    if (!model.is_map()) model.wants("a map: name, tokenizer_name, model_config");
    keys_.find("tokenizer_name");
    const Tree* config = model.find("model_config");
    Tree fields = config && config->is_map() ? *config : Tree::map();
    if (pool_all_) fields.set("pool_all", *pool_all_);
    fields.set("problem_type", task.is_regression() ? "regression" : "single_label_classification");
    if (task.is_regression()) fields.set("num_labels", 1);
    Tree names = Tree::map();
    for (size_t i = 0; i < task.label_names.size(); ++i) names.set(std::to_string(i), task.label_names[i]);
    if (!task.label_names.empty()) fields.set("id2label", names);
    model.set("model_config", fields);
    return model;
  }

  Tree optimizer_of(const Defaults& defaults, const Tree& arguments) {
    const Tree* name = arguments.find("optim_name");
    const std::string optimizer = name ? name->string() : "DecoupledAdamW";
    const bool decoupled = optimizer == "DecoupledAdamW";
    if (!decoupled && optimizer != "adamw" && optimizer != "AdamW") name->wants("DecoupledAdamW or adamw");
    return {{"name", decoupled ? "decoupled_adamw" : "adamw"},
            {"lr", arguments.get<double>("lr", defaults.lr)},
            {"betas", Tree::list({Tree(0.9), Tree(0.98)})},
            {"eps", 1e-6},
            {"weight_decay", arguments.get<double>("wd", defaults.wd)}};
  }

  void finish() {
    require(!sweep_.jobs.empty(), file_, ": has no task to run");
    const bool waits = std::any_of(sweep_.jobs.begin(), sweep_.jobs.end(), [](const GlueJob& job) { return job.starts_from_mnli; });
    const auto mnli = std::find_if(sweep_.jobs.begin(), sweep_.jobs.end(), [](const GlueJob& job) { return job.task == "mnli"; });
    require(!waits || mnli != sweep_.jobs.end(), file_, ": RTE, MRPC and STS-B are to start from MNLI, which is not among the tasks");
    for (GlueJob& job : sweep_.jobs) {
      if (!job.starts_from_mnli) continue;
      job.recipe.set("load_path", (fs::absolute(mnli->folder) / "model").string());
      mnli->keep_model = true;
    }
    choose_tasks();
    keys_.find("max_seq_len");
    std::string list;
    for (const std::string& key : keys_.unread()) {
      const auto meant = keys_.likely(key);
      if (meant && !options_.allow_unknown) fail(where(tree_, key), "is not a key of these recipes; did you mean ", *meant, "?");
      list += (list.empty() ? "" : ", ") + key;
    }
    if (!list.empty()) sweep_.notes.push_back(file_ + ": keys without effect here: " + list);
  }

  void choose_tasks() {
    if (options_.tasks.empty()) return;
    const auto has = [&](const std::string& task) {
      return std::any_of(sweep_.jobs.begin(), sweep_.jobs.end(), [&](const GlueJob& job) { return job.task == task; });
    };
    for (const auto& task : options_.tasks) require(has(task), "--tasks: ", file_, " has no task ", task);
    const bool with_mnli = is_among("mnli", options_.tasks);
    for (const GlueJob& job : sweep_.jobs)
      require(!is_among(job.task, options_.tasks) || !job.starts_from_mnli || with_mnli || fs::exists(job.recipe.at("load_path").string()),
              "--tasks: ", job.task, " starts from the model of MNLI, which is not trained yet; add mnli");
    std::erase_if(sweep_.jobs, [&](const GlueJob& job) { return !is_among(job.task, options_.tasks); });
  }

  const Tree tree_;
  RecipeKeys keys_;
  const GlueSweepOptions& options_;
  std::string file_, start_, pooled_by_;
  bool only_after_mnli_ = false;
  std::optional<bool> pool_all_;
  GlueSweep sweep_;
};

fs::path result_file(const GlueJob& job) { return job.folder / "result.json"; }

// Puts the hash of a loader's data in the place of its folder, if that is there.
void hash_data(Tree& loader) {
  if (!fs::is_directory(loader.at("folder").string())) return;
  const data::GlueFolder folder(loader.at("folder").string());
  loader.set("folder", folder.hash(data::glue_task(loader.at("task").string())));
}

// Settings and data by which a result is recognised. Where data and results are does not matter.
std::string settings_hash(const GlueJob& job) {
  Tree recipe = job.recipe;
  recipe.as_map().erase("save_folder");
  hash_data(*recipe.as_map().find("train_loader"));
  if (job.starts_from_mnli) recipe.set("load_path", "mnli");
  return io::hash128(io::to_yaml(recipe));
}

// ---- The table ----

const std::vector<std::string> kTableOrder = {"cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli"};

void add_statistics(GlueRow& row) {
  const auto n = static_cast<double>(row.values.size());
  for (const double value : row.values) row.mean += value / n;
  if (row.values.size() < 2) return;
  double squares = 0;
  for (const double value : row.values) squares += (value - row.mean) * (value - row.mean);
  row.deviation = std::sqrt(squares / (n - 1));
}

void add_rows(GlueTable& table, const std::string& task, const std::vector<const GlueResult*>& results) {
  double sum = 0;
  size_t count = 0;
  for (const auto& [set, metrics] : results.front()->metrics) {
    for (const tasks::Metric& metric : metrics) {
      GlueRow row{.task = task, .set = set, .metric = metric.name, .seeds = {}, .values = {}};
      for (const GlueResult* result : results) {
        const double* value = tasks::find(result->metrics.at(set), metric.name);
        require(value != nullptr, "the results of ", task, " have different metrics");
        row.seeds.push_back(result->seed);
        row.values.push_back(*value * 100);
        sum += row.values.back();
        ++count;
      }
      add_statistics(row);
      table.rows.push_back(std::move(row));
    }
  }
  table.scores.emplace_back(task, sum / static_cast<double>(count));
}

std::string two_digits(double value) { return io::fixed_text(value, 2); }

std::string with_deviation(const GlueRow& row) { return two_digits(row.mean) + (row.deviation ? " ± " + two_digits(*row.deviation) : ""); }

// What the table says, cell by cell.
using Cells = std::vector<std::array<std::string, 5>>;
Cells cells_of(const GlueTable& table) {
  Cells cells = {{"task", "data", "metric", "seeds", "score"}};
  for (const GlueRow& row : table.rows)
    cells.push_back({row.task, row.set, row.metric, std::to_string(row.values.size()), with_deviation(row)});
  for (const auto& [task, score] : table.scores) cells.push_back({task, "", "mean", "", two_digits(score)});
  cells.push_back({"GLUE", "", "mean of the tasks", "", two_digits(table.average)});
  return cells;
}

// Columns on a screen; ± takes two bytes.
size_t width_of(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

}  // namespace

std::string GlueJob::name() const { return task + "(seed=" + std::to_string(seed) + ")"; }

GlueSweep read_glue_sweep(const fs::path& recipe, const std::vector<std::string>& overrides, const GlueSweepOptions& options) {
  return Reader(recipe, overrides, options).read();
}

std::vector<std::string> glue_reported_metrics(const std::string& task) {
  if (task == "cola" || task == "ax") return {"MatthewsCorrCoef"};
  if (task == "stsb") return {"SpearmanCorrCoef"};
  if (task == "mrpc") return {"BinaryF1Score"};
  if (task == "qqp") return {"MulticlassAccuracy", "BinaryF1Score"};
  return {"MulticlassAccuracy"};
}

std::optional<GlueResult> read_glue_result(const GlueJob& job) {
  const fs::path file = result_file(job);
  if (!fs::exists(file)) return std::nullopt;
  const Tree tree = io::read_json(file);
  require(tree.at("settings").string() == settings_hash(job), file.string(), ": ", job.name(),
          " was run with other settings or data. Another base_run_name begins a new sweep; --overwrite runs the tasks of this one again");
  GlueResult result{.task = job.task, .seed = job.seed, .metrics = {}};
  for (const Tree::Member& set : tree.at("metrics").members())
    for (const Tree::Member& metric : set.value.members()) {
      const double value = metric.value.is_null() ? std::nan("") : metric.value.number();
      result.metrics[set.key].push_back({metric.key, value});
    }
  require(!result.metrics.empty(), file.string(), ": has no metrics");
  return result;
}

void write_glue_result(const GlueJob& job, const GlueResult& result, int64_t batches, double seconds) {
  Tree metrics = Tree::map();
  for (const auto& [set, values] : result.metrics) {
    Tree one = Tree::map();
    for (const tasks::Metric& metric : values) one.set(metric.name, std::isfinite(metric.value) ? Tree(metric.value) : Tree());
    metrics.set(set, one);
  }
  const Tree tree{{"task", result.task}, {"seed", result.seed}, {"metrics", metrics},
                  {"batches", batches},  {"seconds", seconds},  {"settings", settings_hash(job)}};
  io::write_file(result_file(job), io::to_json(tree, 2) + "\n");
}

GlueTable glue_table(const std::vector<GlueResult>& results) {
  GlueTable table;
  for (const std::string& task : kTableOrder) {
    std::vector<const GlueResult*> of_task;
    for (const GlueResult& result : results)
      if (result.task == task) of_task.push_back(&result);
    std::sort(of_task.begin(), of_task.end(), [](const auto* a, const auto* b) { return a->seed < b->seed; });
    if (!of_task.empty()) add_rows(table, task, of_task);
  }
  for (const auto& score : table.scores) table.average += score.second / static_cast<double>(table.scores.size());
  if (table.scores.empty()) table.average = std::nan("");
  return table;
}

std::string glue_table_text(const GlueTable& table) {
  const Cells cells = cells_of(table);
  std::array<size_t, 5> widths{};
  for (const auto& row : cells)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
  std::string out;
  for (const auto& row : cells) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) line += (i > 0 ? "  " : "") + row[i] + std::string(widths[i] - width_of(row[i]), ' ');
    out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return out;
}

std::string glue_table_markdown(const GlueTable& table) {
  std::string out;
  for (const auto& row : cells_of(table)) {
    out += "|";
    for (const auto& cell : row) out += " " + cell + (cell.empty() ? "|" : " |");
    out += "\n";
    if (std::count(out.begin(), out.end(), '\n') == 1) out += "| --- | --- | --- | ---: | ---: |\n";
  }
  return out;
}

Tree glue_table_tree(const GlueTable& table) {
  Tree rows = Tree::list(), scores = Tree::map();
  const auto number = [](double value) { return std::isfinite(value) ? Tree(value) : Tree(); };
  for (const GlueRow& row : table.rows) {
    Tree seeds = Tree::list(), values = Tree::list();
    for (const uint64_t seed : row.seeds) seeds.push_back(seed);
    for (const double value : row.values) values.push_back(number(value));
    rows.push_back(Tree{{"task", row.task},
                        {"data", row.set},
                        {"metric", row.metric},
                        {"seeds", seeds},
                        {"values", values},
                        {"mean", number(row.mean)},
                        {"deviation", row.deviation ? number(*row.deviation) : Tree()}});
  }
  for (const auto& [task, score] : table.scores) scores.set(task, number(score));
  return Tree{{"rows", rows}, {"scores", scores}, {"glue", number(table.average)}};
}

std::string glue_table_html(const GlueTable& table, const std::string& title) {
  std::string rows;
  for (const auto& row : cells_of(table)) {
    const char* cell = rows.empty() ? "th" : "td";
    rows += "<tr>";
    for (const auto& text : row) rows += std::string("<") + cell + ">" + io::html_text(text) + "</" + cell + ">";
    rows += "</tr>\n";
  }
  return io::html_page({"m2bert finetune glue", "m2bert: " + title,
                        "<h1>" + io::html_text(title) + "</h1>\n<table>\n" + rows + "</table>\n",
                        "td:last-child { text-align: right; }\ntr:last-child { font-weight: bold; }\n"});
}

}  // namespace m2bert::train
