#include "m2bert/train/recipe.h"

#include <algorithm>

#include "m2bert/error.h"
#include "m2bert/io/file.h"
#include "m2bert/io/yaml.h"
#include "m2bert/io/yaml_writer.h"
#include "m2bert/tasks/classification.h"
#include "m2bert/tasks/masked_lm.h"
#include "m2bert/train/recipe_keys.h"

namespace m2bert::train {

namespace fs = std::filesystem;

namespace {

// "file.yaml:12: optimizer.name", the start of an error.
std::string where(const io::Tree& value) { return value.location() + ": " + value.path(); }

optim::Time time_of(const io::Tree& value) {
  const std::string text = value.is_string() ? value.string() : std::to_string(value.integer());
  return optim::parse_time(text, where(value));
}

optim::Time get_time(RecipeKeys& keys, const std::string& path, const char* fallback) {
  const io::Tree* value = keys.find(path);
  return value ? time_of(*value) : optim::parse_time(fallback, path);
}

// A path with its placeholders filled in.
std::string path_of(const io::Tree& value, const Placeholders& placeholders) {
  return filled_in(value.string(), placeholders, value.where());
}

std::string get_path(RecipeKeys& keys, const std::string& key, const Placeholders& placeholders, const std::string& fallback) {
  const io::Tree* value = keys.find(key);
  return value ? path_of(*value, placeholders) : fallback;
}

void read_model(Recipe& r, RecipeKeys& keys) {
  keys.accept("max_seq_len");  // Config reads it
  io::Tree tree = r.tree;
  for (const char* name : {"name", "pretrained_model_name", "tokenizer_name", "model_config", "use_flash_fft"}) {
    keys.accept(std::string("model.") + name);
  }
  if (io::Tree* model = tree.as_map().find("model"); model && model->is_map()) {
    if (io::Tree* fields = model->as_map().find("model_config"); fields && fields->is_map()) {
      for (const auto& name : models::Config::unknown_fields(*fields)) fields->as_map().erase(name);
    }
  }
  keys.at("model.name");
  r.model = models::Config::from_tree(tree);
  r.independent_layers = keys.get("model.independent_layers", false);
  if (const io::Tree* pretrained = keys.find("model.use_pretrained"); pretrained && pretrained->boolean()) {
    pretrained->wants("false; weights to start from are named by load_path: a checkpoint, a model folder or ORG/NAME on the hub");
  }
}

// A number of batches, or -1 for all.
int64_t get_subset(RecipeKeys& keys, const std::string& path) {
  const io::Tree* value = keys.find(path);
  if (!value) return -1;
  const int64_t batches = value->integer();
  if (batches < -1 || batches == 0) value->wants("a number of batches of at least 1, or -1 for all");
  return batches;
}

void read_batches(Recipe& r, RecipeKeys& keys) {
  const io::Tree& global = keys.at("global_train_batch_size");
  r.global_batch = global.integer(1, 1 << 30);
  r.global_eval_batch = keys.integer("global_eval_batch_size", r.global_batch, 1, 1 << 30);
  if (const io::Tree* size = keys.find("device_train_microbatch_size"); size && !(size->is_string() && size->string() == "auto")) {
    if (size->is_string()) size->wants("auto or a number of rows");
    r.microbatch = int(size->integer(1, 1 << 30));
  }
  r.device_eval_batch = int(keys.integer("device_eval_batch_size", r.microbatch, 0, 1 << 30));
  r.train_subset = get_subset(keys, "train_subset_num_batches");
  r.eval_subset = get_subset(keys, "eval_subset_num_batches");
  r.weighting = keys.get("accumulate_train_batch_on_tokens", true) ? Weighting::task : Weighting::samples;
}

// The model is saved with the tokenizer of its training data, so other tokenizer names must agree or have no effect.
void check_tokenizers(Recipe& r, RecipeKeys& keys) {
  const std::string& trained = r.train_loader.tokenizer_name;
  if (trained.empty()) return;
  if (const io::Tree* name = keys.find("model.tokenizer_name"); name && name->string() != trained)
    r.notes.push_back(where(*name) + ": has no effect; the model is saved with the tokenizer of train_loader, " + trained);
  for (const auto& loader : r.eval_loaders) {
    const std::string key = loader.text ? "dataset.tokenizer_name" : "tokenizer_name";
    if (!loader.tokenizer_name.empty() && loader.tokenizer_name != trained)
      loader.tree.find_path(key)->wants("that of train_loader, " + trained + ": a model has one tokenizer");
  }
}

void fill_in(io::Tree& map, std::initializer_list<const char*> keys, const Placeholders& placeholders) {
  for (const char* key : keys) {
    io::Tree* value = map.is_map() ? map.as_map().find(key) : nullptr;
    if (!value || !value->is_string()) continue;
    io::Tree filled(path_of(*value, placeholders));
    filled.set_place(value->place());
    *value = std::move(filled);
  }
}

LoaderConfig read_loader_at(const io::Tree& value, const Placeholders& placeholders) {
  io::Tree loader = value;
  fill_in(loader, {"file", "tokenizer_name"}, placeholders);
  io::Tree* data = loader.is_map() ? loader.as_map().find("dataset") : nullptr;
  if (data) fill_in(*data, {"local", "remote", "tokenizer_name"}, placeholders);
  io::Tree* streams = data && data->is_map() ? data->as_map().find("streams") : nullptr;
  if (streams && streams->is_map()) {
    for (auto& stream : streams->as_map().members()) fill_in(stream.value, {"local", "remote"}, placeholders);
  }
  return read_loader(loader);
}

// One loader, or a list of several.
void read_eval_loaders(Recipe& r, RecipeKeys& keys, const Placeholders& placeholders) {
  const io::Tree* loader = keys.find("eval_loader");
  if (!loader) return;
  if (!loader->is_list()) {
    r.eval_loaders.push_back(read_loader_at(*loader, placeholders));
    return;
  }
  std::set<std::string> labels;
  for (const auto& one : loader->items()) {
    r.eval_loaders.push_back(read_loader_at(one, placeholders));
    const std::string& label = r.eval_loaders.back().label;
    if (label.empty() || !labels.insert(label).second) one.wants("a `label` of its own: each of several evaluation sets has one");
  }
}

void read_data(Recipe& r, RecipeKeys& keys, const Placeholders& placeholders) {
  r.train_loader = read_loader_at(keys.at("train_loader"), placeholders);
  if (!r.train_loader.label.empty()) r.train_loader.without_effect.push_back("train_loader.label");
  read_eval_loaders(r, keys, placeholders);
  check_tokenizers(r, keys);
}

void read_schedule(Recipe& r, RecipeKeys& keys) {
  const io::Tree& name = keys.at("scheduler.name");
  r.schedule.decay = optim::decay_named(name.string(), where(name));
  r.schedule.t_warmup = get_time(keys, "scheduler.t_warmup", "0ba");
  r.schedule.alpha_f = keys.number("scheduler.alpha_f", 0, 0);
  r.schedule.t_max = get_time(keys, "scheduler.t_max", "1dur");
  r.schedule.t_decay = get_time(keys, "scheduler.t_decay", "0.1dur");
  r.schedule.warmup_where = train::where(r.tree, "scheduler.t_warmup");
  r.schedule.decay_where = train::where(r.tree, "scheduler.t_decay");
}

void read_optimizer(Recipe& r, RecipeKeys& keys) {
  const io::Tree& name = keys.at("optimizer.name");
  const bool decoupled = name.string() == "decoupled_adamw";
  if (!decoupled && name.string() != "adamw") name.wants("decoupled_adamw or adamw");
  r.optimizer.decay = decoupled ? optim::WeightDecay::decoupled : optim::WeightDecay::by_learning_rate;
  if (const io::Tree* betas = keys.find("optimizer.betas")) {
    if (betas->items().size() != 2) betas->wants("two numbers");
    for (const auto& beta : betas->items()) {
      if (!(beta.number() >= 0 && beta.number() < 1)) beta.wants("a number from 0 up to 1");
    }
    r.optimizer.beta1 = betas->items()[0].number();
    r.optimizer.beta2 = betas->items()[1].number();
  }
  r.optimizer.eps = keys.number("optimizer.eps", 1e-8, 0);
  keys.at("optimizer.lr");
  r.groups.learning_rate = keys.number("optimizer.lr", 0, 0);
  if (r.groups.learning_rate == 0)
    r.notes.push_back(train::where(r.tree, "optimizer.lr") + "the learning rate is 0: the weights are not trained");
  r.groups.weight_decay = keys.number("optimizer.weight_decay", decoupled ? 1e-5 : 1e-2, 0);
  r.groups.no_decay_of_vectors = !keys.get("optimizer.decay_bias_and_norm", true);
  r.groups.layer_decay = keys.number_above("optimizer.layer_decay", 1, 0);
  if (r.groups.layer_decay > 1) keys.at("optimizer.layer_decay").wants("a factor above 0 and at most 1");
  if (!keys.get("optimizer.filter_groups", false)) return;
  const io::Tree& asked = keys.at("optimizer.filter_groups");
  if (!r.model.monarch_mixer_sequence_mixing) asked.wants("false: this model has no long convolutions");
  r.groups.filters = optim::FilterRates{*r.model.long_conv_kernel_learning_rate, *r.model.hyena_lr_pos_emb, *r.model.hyena_wd};
}

// `task`, a name or a map with its settings.
void read_task(Recipe& r, RecipeKeys& keys) {
  const io::Tree* task = r.tree.find_path("task");
  if (!task || task->is_null()) return;
  const bool is_map = task->is_map();
  const io::Tree& name = is_map ? keys.at("task.name") : keys.at("task");
  if (name.string() == "retrieval") {
    keys.accept("task");
    r.task = {TaskConfig::Name::retrieval, {}, read_retrieval_task(*task, uint64_t(keys.integer("seed", 17, 0)))};
    return;
  }
  if (name.string() == "classification") r.task.name = TaskConfig::Name::classification;
  else if (name.string() != "masked_lm") name.wants("masked_lm, classification or retrieval");
  const io::Tree* weights = is_map ? keys.find("task.class_weights") : nullptr;
  if (!weights) return;
  if (r.task.name != TaskConfig::Name::classification) weights->wants("task.name: classification");
  for (const auto& weight : weights->items()) {
    if (!(weight.number() > 0)) weight.wants("a number above 0");
    r.task.class_weights.push_back(float(weight.number()));
  }
}

// `freeze`: embeddings, encoder, or N for the embeddings and the first N layers.
void read_frozen(Recipe& r, RecipeKeys& keys) {
  const io::Tree* freeze = keys.find("freeze");
  if (!freeze) return;
  const int layers = r.model.num_hidden_layers;
  if (freeze->is_integer()) r.frozen_levels = 1 + int(freeze->integer(0, layers));
  else if (freeze->string() == "embeddings") r.frozen_levels = 1;
  else if (freeze->string() == "encoder") r.frozen_levels = 1 + layers;
  else freeze->wants("embeddings, encoder or a number of layers");
}

// The names are those of Hugging Face's TrainingArguments and EarlyStoppingCallback.
void read_best(Recipe& r, RecipeKeys& keys) {
  r.best.metric = keys.get<std::string>("metric_for_best_model", "");
  r.best.keep = keys.get("load_best_model_at_end", true);
  r.best.patience = int(keys.integer("early_stopping_patience", 0, 0, 1000000));
  r.best.threshold = keys.number("early_stopping_threshold", 0, 0);
  const auto needs_metric = [&](bool asked, const char* key) {
    if (asked && r.best.metric.empty()) keys.at(key).wants("metric_for_best_model, which says what is to become better");
  };
  needs_metric(r.best.patience > 0, "early_stopping_patience");
  needs_metric(r.best.threshold > 0, "early_stopping_threshold");
  needs_metric(keys.get("load_best_model_at_end", false), "load_best_model_at_end");
  if (!r.best.metric.empty() && r.eval_loaders.empty()) keys.at("metric_for_best_model").wants("an eval_loader: there is no evaluation");
}

// A time that counts batches.
int64_t get_batches(RecipeKeys& keys, const std::string& path, int64_t fallback) {
  const io::Tree* value = keys.find(path);
  if (!value) return fallback;
  const auto time = time_of(*value);
  if (time.unit != optim::TimeUnit::batch || time.value < 1) value->wants("a number of batches of at least 1ba");
  return int64_t(time.value);
}

void read_average(Recipe& r, RecipeKeys& keys) {
  if (!keys.present("algorithms.ema")) return;
  AverageOptions average;
  const auto interval = get_batches(keys, "algorithms.ema.update_interval", 1);
  const auto half_life = get_batches(keys, "algorithms.ema.half_life", 1000);
  average.interval = interval;
  average.smoothing = keys.number("algorithms.ema.smoothing", optim::smoothing_of_half_life(double(half_life), double(interval)), 0);
  if (average.smoothing >= 1) keys.at("algorithms.ema.smoothing").wants("a number from 0 up to 1: with 1 the average never changes");
  r.average = average;
}

// `algorithms=[]` means none, as `{}` and null do.
void accept_empty(const Recipe& r, RecipeKeys& keys, const std::string& name) {
  const io::Tree* value = r.tree.find_path(name);
  if (value && value->is_list() && value->size() == 0) keys.accept(name);
}

void read_algorithms(Recipe& r, RecipeKeys& keys) {
  for (const char* name : {"fused_layernorm", "low_precision_layernorm"}) keys.accept(std::string("algorithms.") + name);  // always on
  if (keys.present("algorithms.gradient_clipping")) {
    const io::Tree& type = keys.at("algorithms.gradient_clipping.clipping_type");
    r.clipping.by = optim::clip_named(type.string(), where(type));
    keys.at("algorithms.gradient_clipping.clipping_threshold");
    r.clipping.threshold = keys.number_above("algorithms.gradient_clipping.clipping_threshold", 0, 0);  // 0 would leave no gradient
  }
  read_average(r, keys);
}

Reaction get_reaction(RecipeKeys& keys, const std::string& path, Reaction fallback) {
  const io::Tree* value = keys.find(path);
  return value ? reaction_named(value->string(), where(*value)) : fallback;
}

void read_guard(LossGuardOptions& guard, RecipeKeys& keys) {
  const std::string at = "callbacks.loss_guard.";
  guard.on_nan = get_reaction(keys, at + "nan", guard.on_nan);
  guard.on_spike = get_reaction(keys, at + "spike", guard.on_spike);
  guard.window = int(keys.integer(at + "window", guard.window, 2, 1000000));
  guard.spike_factor = keys.number(at + "spike_factor", guard.spike_factor, 1);
  guard.max_skips = int(keys.integer(at + "max_skips", guard.max_skips, 1, 1000000));
  guard.max_roll_backs = int(keys.integer(at + "max_roll_backs", guard.max_roll_backs, 0, 1000000));
}

void read_callbacks(Recipe& r, RecipeKeys& keys) {
  auto& c = r.callbacks;
  if (keys.present("callbacks.speed_monitor")) {
    c.speed_window = int(keys.integer("callbacks.speed_monitor.window_size", 100, 1, 1000000));
    c.peak_flops = keys.number("callbacks.speed_monitor.gpu_flops_available", 0, 0);
    c.peak_flops = keys.number("callbacks.speed_monitor.peak_flops", c.peak_flops, 0);
  }
  c.learning_rate = keys.present("callbacks.lr_monitor");
  c.memory = keys.present("callbacks.memory_monitor");
  c.runtime = keys.present("callbacks.runtime_estimator");
  if (keys.present("callbacks.optimizer_monitor")) c.optimizer = keys.get("callbacks.optimizer_monitor.log_optimizer_metrics", true);
  read_guard(c.guard, keys);
}

void read_saving(Recipe& r, RecipeKeys& keys, const Placeholders& placeholders) {
  auto& s = r.save;
  s.folder = get_path(keys, "save_folder", placeholders, "runs/" + r.run_name);
  s.interval = get_time(keys, "save_interval", "1000ba");
  s.keep = int(keys.integer("save_num_checkpoints_to_keep", -1, -1, 1 << 30));
  s.overwrite = keys.get("save_overwrite", false);
  s.autoresume = keys.get("autoresume", false);
  const std::string pretrained = get_path(keys, "model.pretrained_checkpoint", placeholders, "");
  s.load_path = get_path(keys, "load_path", placeholders, pretrained);
  s.load_weights_only = keys.get("load_weights_only", false) || s.load_path == pretrained;
  s.ignored = keys.get<std::vector<std::string>>("load_ignore_keys", {});
  const io::Tree* grow = keys.find("expand_positional_embeddings");
  if (grow && grow->is_string()) s.grow = models::grow_by_named(grow->string(), where(*grow));
  else if (grow ? grow->boolean() : r.model.expand_positional_embeddings) s.grow = models::GrowBy::tile;
  if (s.grow && s.load_path.empty())
    r.notes.emplace_back("expand_positional_embeddings: there is nothing to grow from; load_path names a shorter model");
}

void read_logging(Recipe& r, RecipeKeys& keys, const Placeholders& placeholders) {
  r.log.progress_bar = keys.get("progress_bar", true);
  r.log.console = keys.get("log_to_console", false);
  r.log.console_interval = get_time(keys, "console_log_interval", "1ba");
  if (!keys.present("loggers.tensorboard")) return;
  r.log.tensorboard = get_path(keys, "loggers.tensorboard.log_dir", placeholders, (r.save.folder / "tensorboard").string());
}

void read_system(Recipe& r, RecipeKeys& keys) {
  r.seed = uint64_t(keys.integer("seed", 17, 0));
  r.dist_timeout = keys.number("dist_timeout", r.dist_timeout, 0.1);
  if (const io::Tree* precision = keys.find("precision")) {
    if (precision->string() == "amp_bf16") r.compute = mx::bfloat16;
    else if (precision->string() != "fp32") precision->wants("fp32 or amp_bf16");
  }
  if (const io::Tree* device = keys.find("device")) {
    r.device = device->string();
    if (r.device != "cpu" && r.device != "gpu") device->wants("cpu or gpu");
  }
}

// Whether a key is only used by ${...} elsewhere in the file.
bool is_variable(const std::string& path, const std::string& text) {
  const std::string top = path.substr(0, path.find('.'));
  for (const auto& use : {"${" + top + "}", "${" + top + ".", "oc.select:" + top}) {
    if (text.find(use) != std::string::npos) return true;
  }
  return false;
}

// Keys that have no effect here. Those that only ${...} uses are moved to `variables`.
std::vector<std::string> ineffective(const Recipe& r, const RecipeKeys& keys, const std::string& text,
                                     std::vector<std::string>& variables) {
  std::vector<std::string> names;
  for (const auto& name : keys.unread()) (is_variable(name, text) ? variables : names).push_back(name);
  if (const io::Tree* fields = r.tree.find_path("model.model_config"); fields && fields->is_map()) {
    for (const auto& name : models::Config::unknown_fields(*fields)) names.push_back("model.model_config." + name);
  }
  names.insert(names.end(), r.train_loader.without_effect.begin(), r.train_loader.without_effect.end());
  for (const auto& loader : r.eval_loaders) names.insert(names.end(), loader.without_effect.begin(), loader.without_effect.end());
  return names;
}

// Model fields count as keys that somebody asked for.
void add_model_fields(RecipeKeys& keys) {
  for (const auto& name : models::Config::fields()) keys.accept("model.model_config." + name);
}

// Misspelt in upstream's own recipes, which run as they are.
constexpr const char* kUpstreamsSlip = "model.model_config.max_position_embedding";

void refuse_misspelt(const Recipe& r, const RecipeKeys& keys, const std::vector<std::string>& names,
                     const std::vector<std::string>& variables) {
  for (const auto& name : names) {
    if (name == kUpstreamsSlip) continue;
    if (const auto likely = keys.likely(name, variables))
      fail(train::where(r.tree, name), "is not a key that a recipe has; did you mean ", *likely, "? (--allow-unknown ignores it)");
  }
}

// What Composer's Trainer and its recipes have at the top level and this program does without.
bool is_composers(const std::string& name) {
  static const std::set<std::string> names = {"accumulate_train_batch_on_tokens",
                                              "algorithm_passes",
                                              "auto_log_hparams",
                                              "compile_config",
                                              "compute_training_metrics",
                                              "console_stream",
                                              "ddp_sync_strategy",
                                              "deepspeed_config",
                                              "deterministic_mode",
                                              "device_train_batch_size",
                                              "fsdp_auto_wrap",
                                              "fsdp_config",
                                              "grad_accum",
                                              "load_exclude_algorithms",
                                              "load_object_store",
                                              "load_progress_bar",
                                              "load_strict_model_weights",
                                              "log_traces",
                                              "n_gpus",
                                              "parallelism_config",
                                              "precision_config",
                                              "profiler",
                                              "python_log_level",
                                              "save_filename",
                                              "save_ignore_keys",
                                              "save_latest_filename",
                                              "save_metrics",
                                              "save_weights_only",
                                              "scale_schedule_ratio",
                                              "spin_dataloaders",
                                              "step_schedulers_every_batch",
                                              "train_dataloader_label"};
  return names.contains(name);
}

// An override that adds a key which nothing reads would leave the run with the recipe's own values.
void refuse_useless_overrides(const Recipe& r, const RecipeKeys& keys, const std::vector<std::string>& names, const std::string& text) {
  for (const auto& name : names) {
    const std::string top = name.substr(0, name.find('.'));
    if (keys.knows(top) || is_composers(top) || ("\n" + text).find("\n" + top + ":") != std::string::npos) continue;
    const std::string at = train::where(r.tree, name);
    if (!at.starts_with("override ")) continue;
    const auto deeper = keys.known_as(name);
    fail(at, "is not a key that a recipe has, and nothing in the recipe refers to it", deeper ? "; did you mean " + *deeper + "?" : "",
         " (--allow-unknown ignores it)");
  }
}

std::string warning_of(const std::vector<std::string>& names, const std::string& recipe) {
  return names.empty() ? "" : recipe + ": keys without effect here: " + listed(names);
}

// Finds keys without effect, and refuses those that look like misspelt ones.
void check_keys(Recipe& r, RecipeKeys& keys, const std::string& own, const std::string& name, const std::vector<std::string>& overrides,
                bool allow_unknown) {
  std::string text = own;
  for (const auto& override : overrides) text += "\n" + override;
  std::vector<std::string> variables;
  const auto names = ineffective(r, keys, text, variables);
  add_model_fields(keys);
  if (!allow_unknown) {
    refuse_misspelt(r, keys, names, variables);
    refuse_useless_overrides(r, keys, names, own);
  }
  r.warning = warning_of(names, name);
  r.without_effect = {names.begin(), names.end()};
  r.keys = keys.read();
}

}  // namespace

Recipe read_recipe(const fs::path& file, const std::vector<std::string>& overrides, const RecipeOptions& options) {
  return parse_recipe(io::read_file(file, io::YamlLimits().bytes), file.string(), overrides, options);
}

Recipe parse_recipe(const std::string& text, const std::string& name, const std::vector<std::string>& overrides,
                    const RecipeOptions& options) {
  return read_recipe(io::parse_yaml(text, name, overrides), text, name, overrides, options);
}

Recipe read_recipe(io::Tree tree, const std::string& text, const std::string& name, const std::vector<std::string>& overrides,
                   const RecipeOptions& options) {
  Recipe r;
  r.tree = std::move(tree);
  if (!r.tree.is_map()) r.tree.wants("a map of keys");
  RecipeKeys keys(r.tree);
  r.run_name = keys.get<std::string>("run_name", "bert");
  Placeholders placeholders = options.placeholders;
  placeholders.run_name = r.run_name;
  read_model(r, keys);
  read_task(r, keys);
  read_batches(r, keys);
  read_data(r, keys, placeholders);
  const io::Tree& duration = keys.at("max_duration");
  r.max_duration = time_of(duration);
  if (r.max_duration.unit == optim::TimeUnit::duration) duration.wants("ba, ep, sp or tok: dur is a share of this very length");
  r.eval_interval = get_time(keys, "eval_interval", "1ep");
  read_schedule(r, keys);
  read_optimizer(r, keys);
  read_frozen(r, keys);
  read_best(r, keys);
  for (const char* name : {"algorithms", "callbacks", "loggers"}) accept_empty(r, keys, name);
  read_algorithms(r, keys);
  read_callbacks(r, keys);
  read_saving(r, keys, placeholders);
  read_logging(r, keys, placeholders);
  read_system(r, keys);
  check_keys(r, keys, text, name, overrides, options.allow_unknown);
  return r;
}

namespace {

void forget_lines(io::Tree& tree) {
  if (tree.line() > 0) {
    io::Place place = *tree.place();
    place.line = place.column = 0;
    tree.set_place(std::make_shared<const io::Place>(std::move(place)));
  }
  if (tree.is_map())
    for (auto& member : tree.as_map().members()) forget_lines(member.value);
  if (tree.is_list())
    for (auto& item : tree.items()) forget_lines(item);
}

}  // namespace

Recipe read_generated_recipe(const io::Tree& tree, const std::string& name, const std::vector<std::string>& overrides,
                             const RecipeOptions& options) {
  const std::string text = io::to_yaml(tree);
  io::Tree resolved = io::parse_yaml(text, name, overrides);
  forget_lines(resolved);
  return read_recipe(std::move(resolved), text, name, overrides, options);
}

std::unique_ptr<tasks::Task> make_task(const Recipe& recipe) {
  require(recipe.task.name != TaskConfig::Name::retrieval, train::where(recipe.tree, "task"), "m2bert finetune retrieval runs this recipe");
  if (recipe.task.name == TaskConfig::Name::masked_lm) return std::make_unique<tasks::MaskedLM>(recipe.model);
  try {
    return std::make_unique<tasks::Classification>(recipe.model, recipe.task.class_weights);
  } catch (const Error& error) {
    fail(train::where(recipe.tree, "task.class_weights"), error.what());
  }
}

std::vector<BatchStream> open_eval_batches(const Recipe& recipe, const Processes& processes) {
  std::vector<BatchStream> data;
  for (const auto& loader : recipe.eval_loaders)
    data.push_back(open_batches(loader, recipe.global_eval_batch, batch_settings(recipe, processes)));
  return data;
}

std::vector<EvalSet> eval_sets(const Recipe& recipe, std::vector<BatchStream>& data) {
  std::vector<EvalSet> sets;
  for (size_t i = 0; i < data.size(); ++i) sets.push_back({recipe.eval_loaders[i].label, &data[i].source()});
  return sets;
}

BatchSettings batch_settings(const Recipe& recipe, const Processes& processes) {
  return {recipe.seed, processes.rank(), processes.size(), recipe.model, where(recipe.tree, "model.tokenizer_name")};
}

void require_even_share(const Recipe& recipe, const std::string& key, int64_t rows, const Processes& processes) {
  require(rows % processes.size() == 0, where(recipe.tree, key), rows, " rows cannot be shared evenly by ", processes.size(), " processes");
}

StepOptions step_options(const Recipe& recipe) {
  StepOptions options;
  options.clipping = recipe.clipping;
  options.weighting = recipe.weighting;
  options.compute = recipe.compute;
  options.seed = recipe.seed;
  options.microbatch_rows = recipe.microbatch;
  return options;
}

}  // namespace m2bert::train
