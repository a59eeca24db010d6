#include "m2bert/train/retrieval_run.h"

#include <algorithm>

#include "m2bert/checkpoint/folder.h"
#include "m2bert/data/retrieval_folder.h"
#include "m2bert/error.h"
#include "m2bert/infer/embedder.h"
#include "m2bert/io/log.h"
#include "m2bert/io/number_text.h"
#include "m2bert/models/find_model.h"
#include "m2bert/threads.h"
#include "m2bert/train/base_model.h"
#include "m2bert/train/recipe_keys.h"

namespace m2bert::train {

namespace fs = std::filesystem;

namespace {

void set_default(io::Tree& tree, const std::string& key, const io::Tree* value) {
  if (value && !given(tree, key)) tree.set(key, *value);
}

void name_loader(io::Tree& recipe, const char* key) {
  io::Tree* loader = recipe.as_map().find(key);
  if (!loader) return;
  auto name = [](io::Tree& one) {
    if (one.is_map() && !given(one, "name")) one.set("name", "retrieval");
  };
  if (!loader->is_list()) return name(*loader);
  for (auto& one : loader->items()) name(one);
}

// A base model comes with its weights, its kind and its tokenizer: a recipe that names others would not get them.
void refuse_other_model(const io::Tree& recipe, const io::Tree& model) {
  constexpr const char* kAdvice = "nothing beside base_model, which names the model and its weights; null leaves it out";
  for (const char* key : {"load_path", "starting_checkpoint_load_path", "model.pretrained_checkpoint"})
    if (const io::Tree* other = given(recipe, key)) other->wants(kAdvice);
  if (const io::Tree* weights_only = given(recipe, "load_weights_only"); weights_only && !weights_only->boolean())
    weights_only->wants("true with base_model: the run starts from its weights alone");
  const io::Tree* own = given(recipe, "model");
  if (!own) return;
  for (const auto& member : own->members()) {
    const bool says_the_same = member.value.is_null() || (model.contains(member.key) && model.at(member.key) == member.value);
    if (member.key != "model_config" && !says_the_same) member.value.wants(kAdvice);
  }
}

void use_base_model(io::Tree& recipe) {
  const io::Tree* name = given(recipe, "base_model");
  if (!name) return;
  const auto base = find_base_model(name->string());
  io::Tree model = model_tree(base);
  refuse_other_model(recipe, model);
  if (const io::Tree* fields = given(recipe, "model.model_config")) {
    io::Tree& own = *model.as_map().find("model_config");
    for (const auto& field : fields->members()) own.set(field.key, field.value);  // such as hidden_dropout_prob
  }
  recipe.set("model", model);
  recipe.set("load_path", base.path.string());
  recipe.set("load_weights_only", true);
  io::Tree limit(base.max_length), tokenizer(base.tokenizer);
  set_default(recipe, "max_seq_len", &limit);
  for (const char* key : {"train_loader", "eval_loader"}) {
    io::Tree* loader = recipe.as_map().find(key);
    if (loader && loader->is_map()) set_default(*loader, "tokenizer_name", &tokenizer);
  }
  recipe.as_map().erase("base_model");
}

// The weights that a run starts from.
void use_checkpoint(io::Tree& recipe) {
  set_default(recipe, "load_path", given(recipe, "starting_checkpoint_load_path"));
  set_default(recipe, "load_path", given(recipe, "model.pretrained_checkpoint"));
  require(given(recipe, "load_path"), recipe.where(),
          "the recipe names no weights to start from; base_model=MODEL, or for a recipe with its own `model` "
          "starting_checkpoint_load_path=CHECKPOINT");
  io::Tree yes(true);
  set_default(recipe, "load_weights_only", &yes);
}

}  // namespace

io::Tree complete_retrieval_recipe(io::Tree recipe) {
  if (!recipe.is_map()) recipe.wants("a map: a recipe");
  const io::Tree* loader = given(recipe, "train_loader");
  require(loader && names_data(*loader), (loader ? *loader : recipe).where(),
          "names no training data; train_loader.data=FILE: pairs or triplets in JSON lines, CSV or TSV, or the folder of a benchmark");
  use_base_model(recipe);
  use_checkpoint(recipe);
  io::Tree task = given(recipe, "task") ? *given(recipe, "task") : io::Tree::map();
  if (!task.is_map()) task.wants("a map: loss, negatives, prompts, ...");
  task.set("name", "retrieval");
  recipe.set("task", task);
  const io::Tree* eval = given(recipe, "eval_loader");
  if (!eval || (eval->is_map() && !names_data(*eval))) recipe.as_map().erase("eval_loader");
  name_loader(recipe, "train_loader");
  name_loader(recipe, "eval_loader");
  set_default(recipe, "run_name", given(recipe, "base_run_name"));
  set_default(recipe, "save_folder", given(recipe, "save_finetune_checkpoint_folder"));
  if (const io::Tree* precision = given(recipe, "precision"); precision && precision->is_string() && precision->string() == "bf16")
    recipe.set("precision", "amp_bf16");
  if (!given(recipe, "algorithms") || !recipe.find_path("algorithms.gradient_clipping")) {
    io::Tree algorithms = given(recipe, "algorithms") && recipe.at("algorithms").is_map() ? recipe.at("algorithms") : io::Tree::map();
    algorithms.set("gradient_clipping", io::Tree{{"clipping_type", "norm"}, {"clipping_threshold", 1.0}});
    recipe.set("algorithms", algorithms);
  }
  for (const char* used : {"base_run_name", "save_finetune_checkpoint_folder", "starting_checkpoint_load_path"})
    recipe.as_map().erase(used);
  return recipe;
}

namespace {

void read_source(const RetrievalLoader& loader, const fs::path& path, data::RetrievalData& data) {
  const std::string name = path.filename().string();
  const bool triples = name.starts_with("qidpidtriples") || name.find("hard-negatives") != std::string::npos;
  if (triples) data::read_retrieval_folder(path.parent_path(), {loader.split, path, false}, data);
  else if (fs::is_directory(path)) data::read_retrieval_folder(path, {.split = loader.split}, data);
  else if (const auto report = data::read_pairs(path, loader.pairs, data); report.skipped > 0)
    io::warn(path.string(), ": ", report.skipped, " records cannot be used and are skipped; the first one: ", report.first_skipped);
}

data::RetrievalData read_all(const LoaderConfig& config, const char* default_split) {
  auto loader = *config.retrieval;
  if (loader.split.empty()) loader.split = default_split;
  data::RetrievalData data;
  for (const auto& path : loader.data) {
    try {
      read_source(loader, path, data);
    } catch (const Error& error) {
      fail(where(config.tree, "data"), error.what());
    }
  }
  data::limit_queries(data, size_t(loader.query_cap));
  return data;
}

std::string name_of_data(const LoaderConfig& config) {
  const auto& paths = config.retrieval->data;
  return where(config.tree, "data") + paths.front().string() + (paths.size() > 1 ? ", ..." : "");
}

tokenize::WordPiece tokenizer_of(const Recipe& recipe) {
  const auto& own = recipe.train_loader.tokenizer_name;
  return own.empty() ? tokenizer_named(recipe.model.tokenizer_name, where(recipe.tree, "model.tokenizer_name"))
                     : tokenizer_named(own, where(recipe.train_loader.tree, "tokenizer_name"));
}

// The prompt of a model for one kind of text, under the names that models use.
std::optional<std::string> prompt_of(const std::map<std::string, std::string>& prompts, std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (const auto found = prompts.find(name); found != prompts.end()) return found->second;
  return std::nullopt;
}

// The vectors of all texts by another model: [texts, e].
mx::array table_of(const std::string& name, const std::string& where, const data::RetrievalData& data) {
  const auto path = models::find_model(name, where + name, ": no such file, folder or name of a model on the hub");
  auto pretrained = models::load_pretrained(path);
  const auto query_prompt = prompt_of(pretrained.prompts, {"query"}),
             passage_prompt = prompt_of(pretrained.prompts, {"passage", "document"});
  const infer::Embedder embedder(std::move(pretrained), {});
  std::vector<bool> is_query(data.texts().size());
  for (const auto& sample : data.samples()) is_query[sample.query] = true;
  io::info("embedding ", data.texts().size(), " texts with ", name);
  const int dim = embedder.dim();
  std::vector<float> all(data.texts().size() * size_t(dim));
  for (const bool queries : {true, false}) {
    std::vector<std::string> texts;
    std::vector<size_t> places;
    for (size_t i = 0; i < data.texts().size(); ++i) {
      if (is_query[i] != queries) continue;
      texts.push_back(data.texts()[i]);
      places.push_back(i);
    }
    const auto found = embedder(texts, {}, queries ? query_prompt : passage_prompt);
    for (size_t i = 0; i < places.size(); ++i)
      std::copy_n(found.vectors.begin() + std::ptrdiff_t(i * size_t(dim)), dim, all.begin() + std::ptrdiff_t(places[i] * size_t(dim)));
  }
  return mx::array(all.begin(), {int(data.texts().size()), dim});
}

bool uses_pooler(const models::Poolings& poolings) { return std::ranges::count(poolings, models::Pooling::pooler) > 0; }

}  // namespace

RetrievalRun::RetrievalRun(const Recipe& recipe)
    : recipe_(recipe),
      config_(*recipe.task.retrieval),
      tokenizer_(tokenizer_of(recipe)),
      query_prompt_(config_.query_prompt),
      passage_prompt_(config_.passage_prompt) {
  require(recipe.train_loader.retrieval.has_value(), where(recipe.tree, "train_loader"), "wants `name: retrieval` for this task");
  read_data();
  choose_negatives();
  read_vector_settings();
  read_evaluation();
  embed_tables();
}

void RetrievalRun::read_data() {
  data_ = read_all(recipe_.train_loader, "train");
  const auto name = name_of_data(recipe_.train_loader);
  const auto shape = data::shape_of(data_, name);
  const auto loss = config_.objective.loss;
  const char* loss_name = tasks::name_of(loss);
  require(!shape.labels || tasks::takes_labels(loss), name, ": has labels, which ", loss_name,
          " would not use; task.loss names another loss");
  require(!tasks::takes_scores(loss) || shape.scores, name, ": ", loss_name, " wants a teacher's score of every passage (a list `scores`)");
  require(tasks::takes_scores(loss) || !shape.scores, name, ": has scores of passages, which ", loss_name, " would not use");
  settings_.objective = config_.objective;
}

void RetrievalRun::choose_negatives() {
  using enum HardNegatives::Source;
  const auto name = name_of_data(recipe_.train_loader);
  const auto& options = config_.hard.options;
  if (config_.hard.source == random || config_.hard.source == model) data::add_random_negatives(data_, options);
  if (config_.hard.source == bm25) {
    io::info("searching hard negatives with BM25");
    mine_with_bm25(data_, options);
  }
  const size_t has = data::shape_of(data_, name).negatives;
  const bool takes_none = config_.objective.loss == tasks::RetrievalLoss::mega_batch_margin;
  const size_t wanted = config_.negatives_given ? config_.negatives : has;
  require(!takes_none || wanted == 0, name, ": has negatives, which ", tasks::name_of(config_.objective.loss),
          " would not use; task.negatives=0 leaves them out");
  require(wanted <= has, name, ": a sample has ", io::counted(has, "negative"), ", task.negatives wants ", wanted,
          "; task.hard_negatives.source=bm25 (or model, random) finds more");
  require(wanted > 0 || !tasks::needs_negatives(config_.objective.loss), name, ": has no negatives, which ",
          tasks::name_of(config_.objective.loss), " needs; task.negatives=1 task.hard_negatives.source=bm25 finds some");
  require(wanted > 0 || data::shape_of(data_, name).labels || !tasks::takes_labels(config_.objective.loss) ||
              config_.objective.loss == tasks::RetrievalLoss::cosine_similarity,
          name, ": has neither labels nor negatives, and ", tasks::name_of(config_.objective.loss),
          " needs pairs that do not belong together; task.negatives=1 task.hard_negatives.source=bm25 finds some");
  settings_.rows_per_sample = int(wanted) + 2;
  settings_.positives = data_.positives();
}

// From the recipe, else from the folder of the base model, else the configuration's.
void RetrievalRun::read_vector_settings() {
  const bool bert = recipe_.model.family == models::Family::hf_bert;
  settings_.pooling = {bert ? models::Pooling::mean : recipe_.model.use_cls_token ? models::Pooling::cls : models::Pooling::pooler};
  settings_.normalize = recipe_.model.use_normalized_embeddings;
  if (const fs::path path = recipe_.save.load_path; fs::exists(path / "modules.json")) {
    const auto folder = checkpoint::read_folder(path);
    require(folder.modules.empty() || config_.pooling, path.string(),
            ": has modules after the pooling, which are not trained here; task.pooling=mean trains without them");
    if (folder.pooling && folder.pooling->error.empty()) {
      settings_.pooling.clear();
      for (const auto& mode : folder.pooling->modes) settings_.pooling.push_back(models::pooling_named(mode));
    }
    settings_.normalize = settings_.normalize || folder.normalize;
    const bool keeps_prompts = folder.pooling && !folder.pooling->include_prompt;
    require(!keeps_prompts || (folder.prompts.empty() && query_prompt_.empty() && passage_prompt_.empty()), path.string(),
            ": leaves the tokens of prompts out of the pooling, which training does not do");
    if (query_prompt_.empty()) query_prompt_ = prompt_of(folder.prompts, {"query"}).value_or("");
    if (passage_prompt_.empty()) passage_prompt_ = prompt_of(folder.prompts, {"passage", "document"}).value_or("");
  }
  if (config_.pooling) settings_.pooling = *config_.pooling;
  if (config_.normalize) settings_.normalize = *config_.normalize;
  settings_.head = uses_pooler(settings_.pooling) ? models::Head::embedding : models::Head::none;
  if (config_.memory_bank > 0) bank_.emplace(config_.memory_bank, recipe_.model.hidden_size * int(settings_.pooling.size()));
}

void RetrievalRun::read_evaluation() {
  if (recipe_.eval_loaders.empty()) return;
  require(recipe_.eval_loaders.size() == 1 && recipe_.eval_loaders[0].retrieval, where(recipe_.tree, "eval_loader"),
          "wants one loader with `name: retrieval` for this task");
  require(recipe_.eval_subset < 0, where(recipe_.tree, "eval_subset_num_batches"),
          "an evaluation of retrieval needs all of its texts; eval_loader.query_cap limits the queries");
  const auto& loader = recipe_.eval_loaders[0];
  const auto data = read_all(loader, "test");
  eval_fingerprint_ = data.fingerprint();
  const bool labels = data::shape_of(data, name_of_data(loader)).labels;
  auto& evaluation = settings_.evaluation;
  evaluation.k = size_t(loader.retrieval->k);
  if (labels) {
    for (const auto& sample : data.samples()) {
      eval_queries_.push_back(data.text(sample.query));
      eval_passages_.push_back(data.text(sample.passages[0]));
      evaluation.labels.push_back(sample.scores[0]);
    }
  } else {
    const auto corpus = data.corpus();
    std::unordered_map<uint32_t, uint32_t> place;
    for (const uint32_t passage : corpus) {
      place[passage] = uint32_t(eval_passages_.size());
      eval_passages_.push_back(data.text(passage));
    }
    const auto positives = data.positives();
    std::vector<bool> seen(data.texts().size());
    for (const auto& sample : data.samples()) {
      if (seen[sample.query]) continue;
      seen[sample.query] = true;
      eval_queries_.push_back(data.text(sample.query));
      evaluation.relevant.emplace_back();
      for (const uint32_t passage : positives.at(sample.query)) evaluation.relevant.back().push_back(place.at(passage));
    }
  }
  evaluation.queries = eval_queries_.size();
  evaluation.passages = eval_passages_.size();
}

void RetrievalRun::embed_tables() {
  if (!config_.guide.empty()) settings_.guide = table_of(config_.guide, where(recipe_.tree, "task.guide"), data_);
  if (config_.teacher.empty()) return;
  settings_.teacher = table_of(config_.teacher, where(recipe_.tree, "task.teacher"), data_);
  const int own = recipe_.model.hidden_size * int(settings_.pooling.size());
  require(settings_.teacher->shape(1) == own, where(recipe_.tree, "task.teacher"), "its vectors have ", settings_.teacher->shape(1),
          " values, those of the model ", own, "; take a teacher of the same size, or a loss that learns its scores (margin_mse_loss)");
}

std::unique_ptr<tasks::Task> RetrievalRun::task() {
  auto task = std::make_unique<tasks::Retrieval>(recipe_.model, settings_, bank_ ? &*bank_ : nullptr);
  task_ = task.get();
  return task;
}

data::TextRows RetrievalRun::text_rows(const LoaderConfig& loader) const {
  const auto& c = *loader.retrieval;
  const auto& model = recipe_.model;
  const int length = c.max_seq_len > 0 ? c.max_seq_len : model.default_length();
  require(length <= model.max_length(), where(loader.tree, "max_seq_len"), "is ", length, ", the model takes ", model.max_length());
  data::TextRows rows{.tokenizer = tokenizer_};
  rows.max_length = size_t(length);
  rows.max_query_length = size_t(c.max_query_len > 0 ? c.max_query_len : length);
  rows.pad_to_max = !c.pad_to_longest.value_or(model.padding_is_masked());
  rows.query_prompt = query_prompt_;
  rows.passage_prompt = passage_prompt_;
  rows.threads = threads();
  return rows;
}

namespace {

StreamInfo info_of(const LoaderConfig& loader, int64_t global_batch, const data::TextRows& rows, const tokenize::WordPiece& tokenizer,
                   const Recipe& recipe) {
  StreamInfo info{global_batch, int(rows.max_length), loader.retrieval->drop_last};
  info.where = loader.tree.where();
  const auto& name = loader.tokenizer_name.empty() ? recipe.model.tokenizer_name : loader.tokenizer_name;
  info.tokenizer = tokenizer_files_of(tokenizer, name, recipe.model);
  return info;
}

}  // namespace

RunData RetrievalRun::open(const Processes& processes) {
  const auto& loader = recipe_.train_loader;
  const auto rows = text_rows(loader);
  const data::BatchShape shape{int(recipe_.global_batch), processes.rank(), processes.size()};
  data::RetrievalBatchOptions options{size_t(settings_.rows_per_sample) - 2, loader.retrieval->shuffle, recipe_.seed,
                                      loader.retrieval->no_duplicates && tasks::uses_batch_negatives(config_.objective.loss)};
  auto info = info_of(loader, recipe_.global_batch, rows, tokenizer_, recipe_);
  info.fingerprint = data_.fingerprint();
  const bool mines = config_.hard.source == HardNegatives::Source::model;
  // Mined ones may repeat in a batch: the loss knows the positives of each query.
  options.distinct_negatives = config_.hard.source == HardNegatives::Source::given;
  auto batches = std::make_unique<data::RetrievalBatches>(data_, name_of_data(loader), rows, options, shape);
  RunData run;
  if (mines) {
    batches_ = std::move(batches);
    const int at_once = recipe_.device_eval_batch > 0 ? recipe_.device_eval_batch : 32;
    auto mining = std::make_unique<MiningSource>(*batches_, data_, config_.hard, rows, shape, at_once);
    mining_ = mining.get();
    run.train.emplace(std::move(mining), std::move(info));
    mining_->set_batches_per_epoch(run.train->batches_per_epoch(recipe_.train_subset));
  } else {
    run.train.emplace(std::move(batches), std::move(info));
  }
  if (recipe_.eval_loaders.empty()) return run;
  const auto& eval = recipe_.eval_loaders[0];
  const auto eval_rows = text_rows(eval);
  auto eval_info = info_of(eval, recipe_.global_eval_batch, eval_rows, tokenizer_, recipe_);
  eval_info.fingerprint = eval_fingerprint_;
  const data::BatchShape eval_shape{int(recipe_.global_eval_batch), processes.rank(), processes.size()};
  run.eval.emplace_back(std::make_unique<data::TextBatches>(eval_queries_, eval_passages_, eval_rows, eval_shape), std::move(eval_info));
  return run;
}

void RetrievalRun::describe(checkpoint::FolderDescription& description) const {
  description.sentence_transformers = true;
  description.pooler = uses_pooler(settings_.pooling);
  for (const auto pooling : settings_.pooling)
    if (pooling != models::Pooling::pooler) description.pooling.modes.emplace_back(models::name(pooling));
  description.pooling.dimension = recipe_.model.hidden_size;
  description.normalize = settings_.normalize;
  description.max_seq_length = int(text_rows(recipe_.train_loader).max_length);
  if (!query_prompt_.empty()) description.prompts["query"] = query_prompt_;
  if (!passage_prompt_.empty()) description.prompts["document"] = passage_prompt_;
}

RunHooks RetrievalRun::hooks() {
  RunHooks hooks;
  hooks.open_data = [this](const Processes& processes) { return open(processes); };
  hooks.describe = [this](checkpoint::FolderDescription& description) { describe(description); };
  hooks.on_model = [this](models::Model& model, const Processes& processes) {
    if (mining_) mining_->set_context({&model, task_, &processes, recipe_.save.folder});
  };
  hooks.state = [this] { return bank_ ? bank_->state() : std::vector<nn::NamedArray>(); };
  return hooks;
}

}  // namespace m2bert::train
