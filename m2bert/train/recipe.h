#pragma once
// A recipe: the YAML that describes a whole run, with the keys of upstream's pretraining recipes.
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "m2bert/models/config.h"
#include "m2bert/models/grow_context.h"
#include "m2bert/optim/adamw.h"
#include "m2bert/optim/schedule.h"
#include "m2bert/tasks/task.h"
#include "m2bert/train/loader.h"
#include "m2bert/train/loss_guard.h"
#include "m2bert/train/placeholders.h"
#include "m2bert/train/step.h"
#include "m2bert/train/trainer.h"

namespace m2bert::train {

// What `callbacks` asks for.
struct CallbackOptions {
  std::optional<int> speed_window;  // speed_monitor.window_size
  double peak_flops = 0;            // speed_monitor.gpu_flops_available or peak_flops; 0: measured
  bool learning_rate = false;       // lr_monitor
  bool memory = false;              // memory_monitor
  bool runtime = false;             // runtime_estimator
  std::optional<bool> optimizer;    // optimizer_monitor; its log_optimizer_metrics
  LossGuardOptions guard;           // loss_guard
};

// Where a run starts and what it saves.
struct SaveOptions {
  std::filesystem::path folder;
  optim::Time interval{1000, optim::TimeUnit::batch};
  int keep = -1;  // -1: all
  bool overwrite = false, autoresume = false;
  std::string load_path;  // empty: none
  bool load_weights_only = false;
  std::vector<std::string> ignored;    // load_ignore_keys: patterns with *, of names in a Composer checkpoint
  std::optional<models::GrowBy> grow;  // expand_positional_embeddings
};

// `task`: what the model is trained for.
struct TaskConfig {
  enum class Name { masked_lm, classification, retrieval };
  Name name = Name::masked_lm;
  std::vector<float> class_weights;  // classification: one for each label; empty: all 1
  std::optional<RetrievalConfig> retrieval = {};
};

struct LogOptions {
  bool progress_bar = true, console = true;
  optim::Time console_interval{1, optim::TimeUnit::batch};
  std::optional<std::filesystem::path> tensorboard;  // its folder
};

struct Recipe {
  io::Tree tree;  // resolved
  std::string run_name;
  TaskConfig task;
  models::Config model;
  bool independent_layers = false;  // model.independent_layers: every layer draws its own initial weights
  uint64_t seed = 17;
  std::string device;         // "", "cpu" or "gpu"
  double dist_timeout = 600;  // seconds that a process waits for the others

  LoaderConfig train_loader;
  std::vector<LoaderConfig> eval_loaders;  // eval_loader: one, or a list of several with a `label` each
  int64_t global_batch = 0, global_eval_batch = 0;
  int device_eval_batch = 0, microbatch = 0;  // 0: auto
  int64_t train_subset = -1, eval_subset = -1;

  optim::Time max_duration, eval_interval;
  optim::ScheduleOptions schedule;
  optim::GroupOptions groups;
  optim::AdamWOptions optimizer;
  optim::Clipping clipping;
  int frozen_levels = 0;  // `freeze`: parameters below this level (optim::level_of) are not trained
  std::optional<AverageOptions> average;
  BestOptions best;
  Weighting weighting = Weighting::task;
  mx::Dtype compute = mx::float32;

  CallbackOptions callbacks;
  SaveOptions save;
  LogOptions log;

  // One line that names every key without effect; empty if there is none.
  std::string warning;
  std::set<std::string> without_effect;  // those keys
  std::set<std::string> keys;            // every key that a recipe may have; everything below one belongs to it
  std::vector<std::string> notes;        // warnings about values that have no effect together with others
};

struct RecipeOptions {
  bool allow_unknown = false;  // misspelt keys, and overrides that nothing uses, are only listed in the warning
  Placeholders placeholders;   // of the recipe's paths; run_name is the recipe's
};

// Reads the file, with overrides ("optimizer.lr=1e-4") applied before ${...} is resolved. Error with file, line and key for an invalid
// value, a missing key, or a key that looks like a misspelt one.
Recipe read_recipe(const std::filesystem::path& file, const std::vector<std::string>& overrides = {}, const RecipeOptions& options = {});

// The same from text; errors call it `name`.
Recipe parse_recipe(const std::string& text, const std::string& name, const std::vector<std::string>& overrides = {},
                    const RecipeOptions& options = {});

// The same from a tree. text: what it was read from, which says what ${...} refers to.
Recipe read_recipe(io::Tree tree, const std::string& text, const std::string& name, const std::vector<std::string>& overrides = {},
                   const RecipeOptions& options = {});

// The same for a recipe that a program has made and no user has seen: errors call it `name`, and give keys without lines.
Recipe read_generated_recipe(const io::Tree& tree, const std::string& name, const std::vector<std::string>& overrides = {},
                             const RecipeOptions& options = {});

// The recipe's task, without state. Error for retrieval, whose task belongs to its data (RetrievalRun).
std::unique_ptr<tasks::Task> make_task(const Recipe& recipe);

// The data of eval_loader, and the sets as an evaluation reads them. Of this process's share.
std::vector<BatchStream> open_eval_batches(const Recipe& recipe, const Processes& processes);
std::vector<EvalSet> eval_sets(const Recipe& recipe, std::vector<BatchStream>& data);

StepOptions step_options(const Recipe& recipe);

// Of this process's share of the data.
BatchSettings batch_settings(const Recipe& recipe, const Processes& processes);

// Error with the key's place unless the processes can share a batch of that many rows evenly.
void require_even_share(const Recipe& recipe, const std::string& key, int64_t rows, const Processes& processes);

}  // namespace m2bert::train
