#include "m2bert/train/retrieval_config.h"

#include "m2bert/error.h"
#include "m2bert/optim/time.h"
#include "m2bert/train/recipe_keys.h"
#include "m2bert/train/retrieval_objective_keys.h"

namespace m2bert::train {

namespace {

using tasks::RetrievalLoss;

int integer(const io::Tree& tree, const char* key, int fallback, int low, int high) {
  const io::Tree* value = given(tree, key);
  return value ? int(value->integer(low, high)) : fallback;
}

// Runs a function; an Error gets the place of a value in front of it.
template <class F>
auto at(const io::Tree& value, F&& run) {
  try {
    return run();
  } catch (const Error& error) {
    fail(value.where(), error.what());
  }
}

void read_columns(const io::Tree& loader, data::PairColumns& columns) {
  const io::Tree* given_columns = given(loader, "columns");
  if (!given_columns) return;
  if (!given_columns->is_map()) given_columns->wants("a map of query, positive, negative and score");
  refuse_other_keys(*given_columns, {"query", "positive", "negative", "score"}, "columns");
  columns.query = given_columns->get<std::string>("query", "");
  columns.positive = given_columns->get<std::string>("positive", "");
  columns.negative = given_columns->get<std::string>("negative", "");
  columns.score = given_columns->get<std::string>("score", "");
}

std::vector<std::filesystem::path> paths_of(const io::Tree& value) {
  if (value.is_string()) return {value.string()};
  if (!value.is_list() || value.size() == 0) value.wants("a file, a folder, or a list of them");
  std::vector<std::filesystem::path> paths;
  for (const auto& item : value.items()) paths.emplace_back(item.string());
  return paths;
}

void read_hard_negatives(const io::Tree& task, HardNegatives& hard) {
  const io::Tree* tree = given(task, "hard_negatives");
  if (!tree) return;
  if (!tree->is_map()) tree->wants("a map of source, first_rank, last_rank, absolute_margin, relative_margin, random and every");
  refuse_other_keys(*tree, {"source", "first_rank", "last_rank", "absolute_margin", "relative_margin", "random", "every"},
                    "hard_negatives");
  const io::Tree& source = tree->at("source");
  using Source = HardNegatives::Source;
  if (source.string() == "random") hard.source = Source::random;
  else if (source.string() == "bm25") hard.source = Source::bm25;
  else if (source.string() == "model") hard.source = Source::model;
  else source.wants("random, bm25 or model");
  auto& o = hard.options;
  o.first_rank = size_t(integer(*tree, "first_rank", 0, 0, 1 << 30));
  o.last_rank = size_t(integer(*tree, "last_rank", 100, 1, 1 << 30));
  if (o.last_rank <= o.first_rank) tree->at("last_rank").wants("more than first_rank");
  o.absolute_margin = tree->get_optional<float>("absolute_margin");
  o.relative_margin = tree->get_optional<float>("relative_margin");
  o.random = tree->get("random", false);
  const io::Tree* every = given(*tree, "every");
  if (!every) return;
  if (hard.source != Source::model) every->wants("source: model, whose ranking changes in training");
  const auto time = optim::parse_time(every->is_string() ? every->string() : std::to_string(every->integer()) + "ba", every->where());
  if (time.unit != optim::TimeUnit::batch || time.value < 1) every->wants("a number of batches of at least 1ba");
  hard.every = int64_t(time.value);
}

void require_that_it_fits(const io::Tree& task, const RetrievalConfig& c) {
  const auto loss = c.objective.loss;
  const char* name = tasks::name_of(loss);
  if (c.memory_bank > 0 && loss != RetrievalLoss::multiple_negatives_ranking)
    task.at("memory_bank").wants("the loss multiple_negatives_ranking_loss, which has negatives of other samples");
  if (!c.guide.empty() && !c.objective.ranking.drop)
    task.at("guide").wants(
        "false_negatives in the loss, which the guide judges: {name: multiple_negatives_ranking_loss, false_negatives: {margin: 0}}");
  const bool learns = c.objective.teacher_weight > 0 || loss == RetrievalLoss::vector_distillation;
  if (!c.teacher.empty() && !learns)
    task.at("teacher").wants(std::string("a loss that learns from it: vector_distillation_loss, or teacher_weight in ") + name);
  require(!learns || !c.teacher.empty(), task.where(), "the loss learns the vectors of another model; `teacher` names it");
  if (c.hard.source != HardNegatives::Source::given && !c.negatives_given)
    task.at("hard_negatives").wants("`negatives` beside it: how many a query gets");
  if (loss == RetrievalLoss::mega_batch_margin && c.negatives > 0)
    task.at("negatives").wants(std::string("0 with ") + name + ", whose negatives are the other samples");
}

}  // namespace

bool names_data(const io::Tree& loader) { return loader.is_map() && given(loader, "data"); }

RetrievalLoader read_retrieval_loader(const io::Tree& loader, std::vector<std::string>& without_effect) {
  RetrievalLoader config;
  config.data = paths_of(loader.at("data"));
  config.split = loader.get<std::string>("split", "");
  auto& source = config.pairs.source;
  if (const io::Tree* format = given(loader, "format")) source.format = at(*format, [&] { return data::parse_format(format->string()); });
  if (const io::Tree* d = given(loader, "delimiter")) source.delimiter = at(*d, [&] { return data::parse_delimiter(d->string()); });
  source.header = loader.get("header", true);
  source.quotes = source.header;  // tables without a header are those of MS MARCO, which have no quotes
  source.skip_bad = loader.get("skip_bad", false);
  read_columns(loader, config.pairs.columns);
  config.max_seq_len = integer(loader, "max_seq_len", 0, 3, 1 << 24);
  config.max_query_len = integer(loader, "max_query_len", 0, 3, 1 << 24);
  if (const io::Tree* padding = given(loader, "padding")) {
    config.pad_to_longest = padding->string() == "longest";
    if (!*config.pad_to_longest && padding->string() != "max_length") padding->wants("max_length or longest");
  }
  config.shuffle = loader.get("shuffle", true);
  config.drop_last = loader.get("drop_last", true);
  config.no_duplicates = loader.get("no_duplicates", true);
  config.query_cap = integer(loader, "query_cap", 0, 0, 1 << 30);
  config.k = integer(loader, "k", 10, 1, 1 << 20);
  for (const auto* extra :
       loader.unknown({"name", "label", "data", "split", "format", "delimiter", "header", "skip_bad", "columns", "max_seq_len",
                       "max_query_len", "padding", "shuffle", "drop_last", "no_duplicates", "query_cap", "k", "tokenizer_name"}))
    without_effect.push_back(extra->value.path());
  return config;
}

RetrievalConfig read_retrieval_task(const io::Tree& task, uint64_t seed) {
  RetrievalConfig c;
  if (!task.is_map()) return c;
  refuse_other_keys(task,
                    {"name", "loss", "prompts", "pooling", "normalize", "negatives", "hard_negatives", "memory_bank", "guide", "teacher"},
                    "a task of retrieval");
  if (const io::Tree* loss = given(task, "loss")) c.objective = read_objective(*loss);
  if (const io::Tree* prompts = given(task, "prompts")) {
    if (!prompts->is_map()) prompts->wants("a map of query and passage");
    refuse_other_keys(*prompts, {"query", "passage"}, "prompts");
    c.query_prompt = prompts->get<std::string>("query", "");
    c.passage_prompt = prompts->get<std::string>("passage", "");
  }
  if (const io::Tree* pooling = given(task, "pooling")) c.pooling = at(*pooling, [&] { return models::poolings_named(pooling->string()); });
  c.normalize = task.get_optional<bool>("normalize");
  c.negatives_given = given(task, "negatives") != nullptr;
  c.negatives = size_t(integer(task, "negatives", 0, 0, 1000));
  read_hard_negatives(task, c.hard);
  c.hard.options.per_query = c.negatives;
  c.hard.options.seed = seed;
  c.memory_bank = integer(task, "memory_bank", 0, 0, 1 << 24);
  c.guide = task.get<std::string>("guide", "");
  c.teacher = task.get<std::string>("teacher", "");
  require_that_it_fits(task, c);
  return c;
}

}  // namespace m2bert::train
