#include "m2bert/train/run.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "m2bert/checkpoint/convert.h"
#include "m2bert/checkpoint/safetensors.h"
#include "m2bert/error.h"
#include "m2bert/io/file.h"
#include "m2bert/io/hash.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"
#include "m2bert/io/progress.h"
#include "m2bert/io/yaml_writer.h"
#include "m2bert/train/console.h"
#include "m2bert/train/initial_weights.h"
#include "m2bert/train/loader.h"
#include "m2bert/train/microbatch_size.h"
#include "m2bert/train/model_flops.h"
#include "m2bert/train/recipe_changes.h"
#include "m2bert/train/recipe_keys.h"
#include "m2bert/train/tensorboard.h"

namespace m2bert::train {

namespace fs = std::filesystem;

namespace {

// Passes records to a hook.
class HookLogger : public Logger {
 public:
  explicit HookLogger(std::function<void(const Record&)> hook) : hook_(std::move(hook)) {}
  void write(const Record& record) override { hook_(record); }

 private:
  std::function<void(const Record&)> hook_;
};

class Run {
 public:
  Run(const Recipe& recipe, const tasks::Task& task, const Processes& processes, const RunHooks& hooks)
      : recipe_(recipe),
        task_(task),
        processes_(processes),
        hooks_(hooks),
        model_(recipe.model, task.head()),
        optimizer_(initialized_parameters(), optim::make_groups(trained_parameters(), recipe.groups, recipe.model.num_hidden_layers),
                   recipe.optimizer),
        step_(model_, task, optimizer_, processes, step_options(recipe)) {}

  RunResult run();

 private:
  std::vector<nn::NamedArray> initialized_parameters();
  std::vector<nn::NamedArray> trained_parameters();
  Trained trained() {
    return {model_, optimizer_, average_ ? &*average_ : nullptr, hooks_.state ? hooks_.state() : std::vector<nn::NamedArray>()};
  }
  void open_data();
  void open_folder();
  std::string eval_fingerprint() const;
  void refuse_other_run(const RunState& state) const;
  void write_description() const;
  std::optional<RunState> starting_state();
  std::optional<RunState> load_own_state();
  bool names_run(const fs::path& path) const;
  std::optional<RunState> load_named_state();
  RecipeChanges changes_since(const RunState& state) const;
  void warn_of_changes(const RunState& state) const;
  void choose_microbatch(const std::optional<RunState>& state, int length);
  TrainerOptions trainer_options() const;
  void add_loggers(TrainerParts& parts, const std::optional<RunState>& state);
  void add_monitors(TrainerParts& parts, int length);
  fs::path write_model();
  void load_best(const Best& best);
  void finish(RunResult& result);
  std::vector<Evaluation> evaluate_now();
  void require_known_metric() const;

  const Recipe& recipe_;
  const tasks::Task& task_;
  const Processes& processes_;
  const RunHooks& hooks_;
  models::Model model_;
  optim::AdamW optimizer_;
  std::optional<optim::WeightAverage> average_;
  Step step_;
  std::optional<RunFolder> folder_;
  std::optional<BatchStream> data_;
  std::vector<BatchStream> eval_data_;
  optim::RunLength length_;
};

std::vector<nn::NamedArray> Run::initialized_parameters() {
  model_.init(recipe_.seed, recipe_.independent_layers);
  return trained_parameters();
}

// Those that are not frozen.
std::vector<nn::NamedArray> Run::trained_parameters() {
  auto parameters = nn::parameters(model_);
  std::erase_if(parameters,
                [&](const nn::NamedArray& p) { return optim::level_of(p.name, recipe_.model.num_hidden_layers) < recipe_.frozen_levels; });
  require(!parameters.empty(), where(recipe_.tree, "freeze"), "leaves nothing to train");
  return parameters;
}

void Run::open_data() {
  if (hooks_.open_data) {
    auto data = hooks_.open_data(processes_);
    data_ = std::move(data.train);
    eval_data_ = std::move(data.eval);
  } else {
    data_.emplace(open_batches(recipe_.train_loader, recipe_.global_batch, batch_settings(recipe_, processes_)));
    eval_data_ = open_eval_batches(recipe_, processes_);
  }
  length_ = {recipe_.max_duration, data_->batches_per_epoch(recipe_.train_subset)};
}

void Run::open_folder() {
  if (!processes_.first()) return;
  const std::string at = where(recipe_.tree, "save_folder");
  try {
    folder_.emplace(recipe_.save.folder, recipe_.save.keep);
  } catch (const Error& error) {
    fail(at, error.what());
  }
  if (folder_->checkpoints().empty()) return;
  if (recipe_.save.autoresume) {
    if (const auto state = folder_->latest_state()) refuse_other_run(*state);
    return;
  }
  require(recipe_.save.overwrite, at, folder_->path().string(),
          " holds checkpoints of an earlier run. autoresume=true resumes it, save_overwrite=true replaces it, save_folder=... writes "
          "elsewhere");
  folder_->replace_old();
}

// A hash of what evaluations compute their metrics from; empty if that is unknown.
std::string Run::eval_fingerprint() const {
  std::string all = std::to_string(recipe_.eval_subset);
  for (size_t i = 0; i < eval_data_.size(); ++i) {
    const auto& fingerprint = eval_data_[i].info().fingerprint;
    if (fingerprint.empty()) return "";
    all += "\n" + recipe_.eval_loaders[i].label + "\n" + fingerprint;
  }
  return eval_data_.empty() ? "" : io::hash128(all);
}

RecipeChanges Run::changes_since(const RunState& state) const {
  const bool same_data = !state.data.empty() && state.data == data_->info().fingerprint;
  auto changes = changes_of(state.recipe, recipe_, same_data);
  if (!state.data.empty() && !data_->info().fingerprint.empty() && !same_data)
    changes.other.push_back({"train_loader", "data with the hash " + state.data, data_->info().fingerprint});
  const auto evaluated = eval_fingerprint();
  if (state.best && !state.eval_data.empty() && !evaluated.empty() && state.eval_data != evaluated)
    changes.other.push_back({"eval_loader", "data with the hash " + state.eval_data + ", by which the best model was chosen", evaluated});
  return changes;
}

// A run goes on with its own data and settings alone.
void Run::refuse_other_run(const RunState& state) const {
  const auto changes = changes_since(state);
  const std::string folder = folder_->path().string();
  require(changes.other.empty(), where(recipe_.tree, "save_folder"), folder,
          " holds a run with other data or settings:", lines_of(changes.other),
          "\nRepeat its settings to resume it (max_duration, batch sizes, evaluation, saving and logging may change). Another save_folder "
          "begins a new run, from the state of this one with load_path=",
          (folder_->path() / "latest.safetensors").string(), "; save_overwrite=true with autoresume=false replaces this one");
}

// What makes the folder of the run a model: recipe, configuration and vocabulary.
void Run::write_description() const {
  if (!folder_) return;
  io::write_file(folder_->path() / "recipe.yaml", io::to_yaml(recipe_.tree));
  io::write_file(folder_->path() / "config.json", io::to_json(recipe_.model.to_tree(), 2) + "\n");
  for (const auto& [name, text] : data_->info().tokenizer) io::write_file(folder_->path() / name, text);
}

// The newest checkpoint of this folder, or one that load_path names together with its state.
std::optional<RunState> Run::load_own_state() {
  if (recipe_.save.autoresume) {
    if (auto state = folder_->load_latest(trained())) return state;
  }
  return load_named_state();
}

bool Run::names_run(const fs::path& path) const {
  if (recipe_.save.load_weights_only || fs::is_directory(path)) return false;
  try {
    return is_run(path);
  } catch (const Error& error) {
    fail(where(recipe_.tree, "load_path"), error.what());
  }
}

std::optional<RunState> Run::load_named_state() {
  if (recipe_.save.load_path.empty()) return std::nullopt;
  const auto path = find_weights(recipe_.save.load_path, where(recipe_.tree, "load_path"));
  if (!names_run(path)) {
    load_initial_weights(model_, path, recipe_);
    return std::nullopt;
  }
  auto state = load_run(path, trained());
  // What belongs to the other folder: its metrics file, and its best model.
  state.log_bytes = 0;
  state.best.reset();
  state.evaluations_without_value = 0;
  state.stopped_early = false;
  return state;
}

// The state that the run resumes from, the same in every process; nullopt for a new run.
std::optional<RunState> Run::starting_state() {
  if (recipe_.average) average_.emplace(trained_parameters());
  std::optional<RunState> state;
  if (processes_.first()) {
    state = load_own_state();
    if (!state && average_) average_.emplace(trained_parameters());
    if (state) warn_of_changes(*state);
  }
  return broadcast_run(state, trained(), processes_);
}

void Run::warn_of_changes(const RunState& state) const {
  auto changes = changes_since(state);
  changes.other.insert(changes.other.end(), changes.more.begin(), changes.more.end());
  if (!changes.other.empty()) io::warn("the recipe is not the one that the checkpoint was made with:", lines_of(changes.other));
}

void Run::choose_microbatch(const std::optional<RunState>& state, int length) {
  auto& rows = step_.options().microbatch_rows;
  const int sample = task_.rows_per_sample(), most = int(recipe_.global_batch / processes_.size()) * sample;
  if (recipe_.microbatch * sample > most) {
    io::warn(where(recipe_.tree, "device_train_microbatch_size"), recipe_.microbatch, " is more than a process's share of the batch, ",
             most / sample, ": taking ", most / sample);
  }
  if (rows > 0) rows = std::min(rows * sample, most);
  if (rows > 0) return;
  if (state && state->microbatch_rows > 0) {
    rows = std::min(state->microbatch_rows, most);
    return;
  }
  const uint64_t free = free_memory() / uint64_t(processes_.local_size());
  require(free > 0, where(recipe_.tree, "device_train_microbatch_size"),
          "auto needs to know the free memory, and this system does not say it; give a number");
  const int measured = std::clamp(4096 / length, 1, most / sample) * sample;  // takes some seconds at any length
  const double row = memory_of_row([&](int n) { return peak_memory_of([&] { step_.dry_run(n, length); }); }, measured);
  rows = -int(processes_.max(-rows_that_fit(row, free, most)));  // the minimum over all processes
  rows = std::max(rows / sample, 1) * sample;
  io::info("device_train_microbatch_size: ", rows, " rows (a row of ", length, " tokens takes ", io::show_bytes(uint64_t(row)), ", ",
           io::show_bytes(free), " are free)");
}

TrainerOptions Run::trainer_options() const {
  TrainerOptions o;
  o.length = length_;
  o.samples_per_epoch = data_->samples_per_epoch(recipe_.train_subset);
  o.global_batch = recipe_.global_batch;
  o.schedule = recipe_.schedule;
  o.eval_interval = recipe_.eval_interval;
  o.save_interval = recipe_.save.interval;
  o.evaluation = {recipe_.eval_subset, recipe_.device_eval_batch, recipe_.compute};
  if (recipe_.average) o.average = *recipe_.average;
  o.best = recipe_.best;
  o.recipe = recipe_.tree;
  o.data = data_->info().fingerprint;
  o.eval_data = eval_fingerprint();
  return o;
}

void Run::add_loggers(TrainerParts& parts, const std::optional<RunState>& state) {
  if (!folder_) return;
  parts.folder = &*folder_;
  auto metrics = std::make_unique<MetricsFile>(folder_->path() / "metrics.jsonl", state ? state->log_bytes : 0);
  parts.metrics = metrics.get();
  parts.loggers.push_back(std::move(metrics));
  const auto start = state ? state->time : optim::Timestamp{};
  if (recipe_.log.tensorboard) parts.loggers.push_back(std::make_unique<TensorBoard>(*recipe_.log.tensorboard, start.batch + 1));
  const ConsoleOptions console{recipe_.run_name, recipe_.log.progress_bar, recipe_.log.console, recipe_.log.console_interval, length_};
  parts.loggers.push_back(std::make_unique<Console>(console, start));
  if (hooks_.on_record) parts.loggers.push_back(std::make_unique<HookLogger>(hooks_.on_record));
}

void Run::add_monitors(TrainerParts& parts, int length) {
  if (!folder_) return;
  const auto& c = recipe_.callbacks;
  auto& monitors = parts.monitors;
  if (c.speed_window) {
    const double peak = c.peak_flops > 0 ? c.peak_flops : measured_peak_flops(recipe_.compute);
    const int size = processes_.size();
    auto flops = [config = recipe_.model, &task = task_, size, length](const Gradient& g) {
      return training_flops(config, g.samples / size * task.rows_per_sample(), length, task.head_flops(g.weight / size));
    };
    monitors.push_back(std::make_unique<SpeedMonitor>(*c.speed_window, size, std::move(flops), peak));
  }
  if (c.learning_rate) monitors.push_back(std::make_unique<LearningRateMonitor>(optimizer_));
  if (c.memory) monitors.push_back(std::make_unique<MemoryMonitor>());
  if (c.optimizer) monitors.push_back(std::make_unique<OptimizerMonitor>(optimizer_, *c.optimizer));
  if (c.runtime) monitors.push_back(std::make_unique<RuntimeEstimator>(length_));
}

// Writes the trained model with its tokenizer, as a folder that every command reads.
fs::path Run::write_model() {
  if (!folder_) return {};
  const fs::path folder = folder_->path() / "model";
  const auto& data = data_->info();
  checkpoint::FolderDescription description;
  description.config_json = io::to_json(recipe_.model.to_tree(), 2) + "\n";
  hooks_.describe(description);
  checkpoint::write_folder_description(folder, description);
  auto files = data.tokenizer;
  if (data.length < recipe_.model.max_length())  // the length of its texts, where the model could take longer ones
    checkpoint::set_json_field(files["tokenizer_config.json"], "tokenizer_config.json", "model_max_length", data.length);
  for (const auto& [name, text] : files) io::write_file(folder / name, text);
  checkpoint::save_safetensors(folder / "model.safetensors", separate_tensors(owned_arrays(model_)));
  return folder;
}

// Puts the best weights in place of the last ones, in every process.
void Run::load_best(const Best& best) {
  if (folder_) folder_->load_best(model_, best);
  broadcast_run(std::nullopt, trained(), processes_);
}

RunResult Run::run() {
  open_data();
  require_known_metric();
  open_folder();
  hooks_.on_start();
  write_description();
  const auto state = starting_state();
  hooks_.on_model(model_, processes_);
  choose_microbatch(state, data_->info().length);

  TrainerParts parts{
      trained(), task_, step_, data_->source(), eval_sets(recipe_, eval_data_), processes_, LossGuard(recipe_.callbacks.guard)};
  add_loggers(parts, state);
  add_monitors(parts, data_->info().length);
  Trainer trainer(std::move(parts), trainer_options());
  if (state) trainer.resume(*state);

  RunResult result;
  result.parameters = nn::count_parameters(model_);
  for (const auto& p : optimizer_.parameters()) result.trained_parameters += p.array->size();
  io::info(recipe_.model.summary(), ", ", io::show_count(result.parameters), " parameters",
           result.trained_parameters < result.parameters ? ", " + io::show_count(result.trained_parameters) + " of them trained" : "");
  result.was_finished = state && trainer.finished();
  result.end = trainer.fit();
  result.time = trainer.time();
  result.loss = trainer.last_gradient() ? trainer.last_gradient()->loss : std::numeric_limits<double>::quiet_NaN();
  result.evaluations = trainer.last_evaluations();
  result.best = trainer.best();
  result.seconds = trainer.seconds();
  result.folder = recipe_.save.folder;
  result.processes = processes_.size();
  if (result.end == TrainingEnd::finished) finish(result);
  return result;
}

// The model of a finished run, and its evaluations. After a signal, which cuts an evaluation short, the run counts as stopped.
void Run::finish(RunResult& result) {
  const bool keeps_best = result.best && recipe_.best.keep;
  if (!recipe_.best.metric.empty() && !result.best)
    io::warn(recipe_.best.metric, " was NaN or infinite in every evaluation; the model has the last weights");
  if (keeps_best) load_best(*result.best);
  const optim::SwappedAverage swapped(average_ && !keeps_best ? &*average_ : nullptr);
  if (result.evaluations.empty() || (keeps_best && result.best->batch != result.time.batch)) {
    result.evaluations = evaluate_now();
    if (processes_.any(io::interrupted())) {
      result.end = TrainingEnd::stopped;
      return;
    }
  }
  result.model = write_model();
}

std::vector<Evaluation> Run::evaluate_now() {
  return evaluate_all(model_, task_, eval_sets(recipe_, eval_data_), processes_, trainer_options().evaluation);
}

// Error unless the task has the metric by which the best model is chosen.
void Run::require_known_metric() const {
  const auto& wanted = recipe_.best.metric;
  if (wanted.empty()) return;
  std::vector<Evaluation> none;
  std::string names;
  for (const auto& loader : recipe_.eval_loaders) {
    none.push_back({task_.eval_metrics(task_.zero_sums()), 0, {}, loader.label});
    for (const auto& metric : none.back().metrics) names += (names.empty() ? "" : ", ") + full_name(none.back(), metric);
  }
  require(find(none, wanted) != nullptr, where(recipe_.tree, "metric_for_best_model"), "wants one of this task's metrics, ", names,
          "; got ", wanted);
}

}  // namespace

RunResult run(const Recipe& recipe, const tasks::Task& task, const Processes& processes, const RunHooks& hooks) {
  require_even_share(recipe, "global_train_batch_size", recipe.global_batch, processes);
  require_even_share(recipe, "global_eval_batch_size", recipe.global_eval_batch, processes);
  Run run(recipe, task, processes, hooks);
  return run.run();
}

}  // namespace m2bert::train
