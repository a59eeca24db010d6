#include "m2bert/train/loader.h"

#include <algorithm>
#include <cmath>

#include "m2bert/checkpoint/convert.h"
#include "m2bert/data/glue.h"
#include "m2bert/data/labelled_batches.h"
#include "m2bert/data/text_data.h"
#include "m2bert/error.h"
#include "m2bert/io/hash.h"
#include "m2bert/io/log.h"
#include "m2bert/io/number_text.h"
#include "m2bert/tasks/classification.h"
#include "m2bert/threads.h"
#include "m2bert/tokenize/wordpiece.h"
#include "m2bert/train/fixed_batches.h"
#include "m2bert/train/recipe_keys.h"

namespace m2bert::train {

namespace {

// Runs a function; an Error gets this in front of it.
template <class F>
auto with_prefix(const std::string& prefix, F&& run) {
  try {
    return run();
  } catch (const Error& error) {
    fail(prefix, error.what());
  }
}

void require_vocabulary_fits(const LoaderConfig& loader, const std::string& key, const tokenize::WordPiece& tokenizer,
                             const models::Config& model) {
  require(tokenizer.vocab_size() <= size_t(model.vocab_size), where(loader.tree, key), "the tokenizer has ", tokenizer.vocab_size(),
          " tokens, the model has embeddings for ", model.vocab_size, " (model.model_config.vocab_size)");
}

// The keys by which a loader finds its data.
std::string location_key(const io::Tree& loader) {
  for (const char* key : {"file", "dataset.streams", "dataset.local", "dataset.remote"}) {
    if (const io::Tree* value = loader.find_path(key); value && !value->is_null()) return key;
  }
  return "dataset";
}

// A position beyond the model's would crash it or give garbage.
void require_fits(const LoaderConfig& loader, const std::string& key, int length, const models::Config& model) {
  require(length <= model.max_length(), where(loader.tree, key), "the texts have up to ", length, " tokens, the model takes ",
          model.max_length());
}

std::unique_ptr<data::BatchSource> open_fixed(const LoaderConfig& loader, const BatchSettings& settings, StreamInfo& info) {
  auto source =
      with_prefix(where(loader.tree, "file"), [&] { return std::make_unique<FixedBatches>(loader.file, settings.rank, settings.size); });
  require(source->global_rows() == info.global_batch, where(loader.tree, "file"), loader.file.string(), ": its batches have ",
          source->global_rows(), " rows, the recipe's global batch ", info.global_batch);
  info.length = source->length();
  info.drop_last = true;
  info.fingerprint = io::hash_file(loader.file);
  require_fits(loader, "file", info.length, settings.model);
  with_prefix(where(loader.tree, "file"), [&] { source->require_ids_below(settings.model.vocab_size); });
  return source;
}

// A hash of the indexes of all streams.
std::string fingerprint_of(const data::TextDataConfig& config) {
  std::string all;
  for (const auto& stream : config.streams) {
    const auto& data = stream.data;
    const auto index = std::filesystem::path(data.local.empty() ? data.remote : data.local) / data.split / data::kMdsIndex;
    std::error_code none;
    if (!std::filesystem::is_regular_file(index, none)) return "";
    all += io::hash_file(index);
  }
  return io::hash128(all);
}

std::unique_ptr<data::BatchSource> open_text(const LoaderConfig& loader, const BatchSettings& settings,
                                             const tokenize::WordPiece& tokenizer, StreamInfo& info) {
  data::TextDataConfig config = *loader.text;
  require_fits(loader, "dataset.max_seq_len", config.max_seq_len, settings.model);
  require_vocabulary_fits(loader, "dataset.tokenizer_name", tokenizer, settings.model);
  if (!config.mask_seed) config.mask_seed = settings.seed;
  info.length = config.max_seq_len;
  info.drop_last = config.drop_last;
  info.fingerprint = fingerprint_of(config);
  const data::BatchShape shape{int(info.global_batch), settings.rank, settings.size};
  return with_prefix(where(loader.tree, location_key(loader.tree)), [&] { return data::open_text_data(config, tokenizer, shape); });
}

const char* problem_type_of(const models::Config& model) {
  const auto problem = tasks::problem_of(model);
  if (problem == tasks::Problem::regression) return train::problem_type_of(data::LabelKind::number);
  return train::problem_type_of(problem == tasks::Problem::multi_label ? data::LabelKind::multi : data::LabelKind::single);
}

void require_labels_fit(const data::LabelledData& data, const models::Config& model) {
  const size_t wanted = data.kind == data::LabelKind::number ? 1 : data.label_names.size();
  require(wanted == size_t(model.num_labels), data.name, ": has ", io::counted(wanted, "label"), ", the model has ", model.num_labels,
          " (model.model_config.num_labels or id2label)");
  const std::string type = train::problem_type_of(data.kind), models_type = problem_type_of(model);
  require(type == models_type, data.name, ": its labels are those of a ", type, ", the model is made for a ", models_type,
          " (model.model_config.problem_type)");
}

// A test set without labels, for its predictions alone.
void label_with_zero(data::LabelledData& data) {
  std::replace(data.labels.begin(), data.labels.end(), -1, 0);
  std::replace_if(data.values.begin(), data.values.end(), [](float value) { return std::isnan(value); }, 0.0F);
  data.unlabelled = 0;
}

data::LabelledData read_glue(const LabelledLoader& config) {
  auto data = data::GlueFolder(config.file).split(data::glue_task(config.glue->task), config.glue->split);
  if (config.glue->split.starts_with("test")) label_with_zero(data);
  return data;
}

std::string fingerprint_of(const data::LabelledData& data) {
  io::Hasher hasher;
  for (const auto* texts : {&data.texts, &data.pairs})
    for (const auto& text : *texts) hasher.update(std::to_string(text.size()) + ":" + text);
  for (const int32_t label : data.labels) hasher.update(std::to_string(label) + ",");
  for (const float value : data.values) hasher.update(std::to_string(value) + ",");
  return hasher.hash128();
}

std::unique_ptr<data::BatchSource> open_labelled(const LoaderConfig& loader, const BatchSettings& settings,
                                                 const tokenize::WordPiece& tokenizer, StreamInfo& info) {
  const auto& config = *loader.labelled;
  const auto& model = settings.model;
  data::LabelledBatchOptions options;
  options.max_seq_len = config.max_seq_len > 0 ? config.max_seq_len : model.default_length();
  require_fits(loader, "max_seq_len", options.max_seq_len, model);
  require_vocabulary_fits(loader, "tokenizer_name", tokenizer, model);
  options.pad_to_longest = config.pad_to_longest.value_or(model.padding_is_masked());
  options.shuffle = config.shuffle;
  options.seed = settings.seed;
  options.shape = {int(info.global_batch), settings.rank, settings.size};
  options.threads = threads();
  info.length = options.max_seq_len;
  info.drop_last = config.drop_last;
  return with_prefix(where(loader.tree, config.glue ? "folder" : "file"), [&] {
    const auto data = read_texts(config, model);
    info.fingerprint = config.glue ? fingerprint_of(data) : io::hash_file(config.file);
    require_labels_fit(data, model);
    auto source = std::make_unique<data::LabelledBatches>(data, tokenizer, options);
    if (source->truncated() > 0 && settings.rank == 0)
      io::warn(data.name, ": ", source->truncated(), " of ", data.size(), " texts have more than ", options.max_seq_len,
               " tokens and are truncated");
    return source;
  });
}

// Rows are padded to max_seq_len, which must be a multiple of upstream's padding_multiple.
void drop_padding_multiple(io::Tree& loader) {
  io::Tree* data = loader.as_map().find("dataset");
  if (!data || !data->is_map()) return;
  const io::Tree* multiple = data->find("padding_multiple");
  if (!multiple) return;
  if (!multiple->is_null() && data->at("max_seq_len").integer(1, 1 << 24) % multiple->integer(1, 1 << 24) != 0) {
    multiple->wants("a divisor of max_seq_len, to which every row is padded");
  }
  data->as_map().erase("padding_multiple");
}

// The settings that loaders of texts have in common.
void read_shaping(const io::Tree& loader, LabelledLoader& config) {
  if (const io::Tree* length = loader.find("max_seq_len"); length && !length->is_null())
    config.max_seq_len = int(length->integer(3, 1 << 24));
  config.shuffle = loader.get<bool>("shuffle", false);
  config.drop_last = loader.get<bool>("drop_last", false);
  const io::Tree* padding = loader.find("padding");
  if (!padding || padding->is_null()) return;
  config.pad_to_longest = padding->string() == "longest";
  if (!*config.pad_to_longest && padding->string() != "max_length") padding->wants("max_length or longest");
}

LabelledLoader read_glue_loader(const io::Tree& loader, std::vector<std::string>& without_effect) {
  LabelledLoader config;
  config.file = loader.at("folder").string();
  config.glue = {loader.at("task").string(), loader.at("split").string()};
  read_shaping(loader, config);
  for (const auto* extra :
       loader.unknown({"name", "folder", "task", "split", "max_seq_len", "shuffle", "drop_last", "padding", "tokenizer_name", "label"}))
    without_effect.push_back(extra->value.path());
  return config;
}

data::LabelKind label_kind_named(const io::Tree& kind) {
  const std::string& name = kind.string();
  if (name == "single") return data::LabelKind::single;
  if (name == "multi") return data::LabelKind::multi;
  if (name != "number") kind.wants("single, multi or number");
  return data::LabelKind::number;
}

// The settings of a loader of labelled texts.
LabelledLoader read_labelled_loader(const io::Tree& loader, std::vector<std::string>& without_effect) {
  LabelledLoader config;
  auto& labels = config.labels;
  config.file = loader.at("file").string();
  labels.text = loader.get<std::string>("text_column", "");
  labels.text_pair = loader.get<std::string>("text_pair_column", "");
  labels.label = loader.get<std::string>("label_column", "");
  labels.separator = loader.get<std::string>("separator", labels.separator);
  if (const io::Tree* kind = loader.find("kind"); kind && !kind->is_null()) labels.kind = label_kind_named(*kind);
  if (const io::Tree* names = loader.find("labels"); names && !names->is_null())
    for (const auto& name : names->items()) labels.label_names.push_back(name.string());
  if (const io::Tree* format = loader.find("format"); format && !format->is_null())
    labels.source.format = data::parse_format(format->string());
  if (const io::Tree* delimiter = loader.find("delimiter"); delimiter && !delimiter->is_null())
    labels.source.delimiter = data::parse_delimiter(delimiter->string());
  labels.source.skip_bad = loader.get<bool>("skip_bad", false);
  read_shaping(loader, config);
  for (const auto* extra :
       loader.unknown({"name", "file", "text_column", "text_pair_column", "label_column", "separator", "kind", "labels", "format",
                       "delimiter", "skip_bad", "max_seq_len", "shuffle", "drop_last", "padding", "tokenizer_name", "label"}))
    without_effect.push_back(extra->value.path());
  return config;
}

}  // namespace

const char* problem_type_of(data::LabelKind kind) {
  if (kind == data::LabelKind::number) return "regression";
  return kind == data::LabelKind::multi ? "multi_label_classification" : "single_label_classification";
}

tokenize::WordPiece tokenizer_named(const std::string& name, const std::string& where) {
  if (name == "bert-base-uncased") return tokenize::WordPiece::builtin();
  return with_prefix(where, [&] { return tokenize::WordPiece::from_file(name); });
}

std::map<std::string, std::string> tokenizer_files_of(const tokenize::WordPiece& tokenizer, const std::string& name,
                                                      const models::Config& model) {
  if (tokenizer.vocab_size() > size_t(model.vocab_size)) return {};
  if (std::filesystem::is_directory(name)) return checkpoint::tokenizer_files(name);
  std::string lines;
  for (size_t id = 0; id < tokenizer.vocab_size(); ++id) (lines += tokenizer.token(int32_t(id))) += '\n';
  return {{"vocab.txt", lines}};
}

data::LabelledData read_texts(const LabelledLoader& loader, const models::Config& model) {
  if (loader.glue) return read_glue(loader);
  auto how = loader.labels;
  if (how.label_names.empty()) how.label_names = model.labels;
  how.integers_are_indices = !how.label_names.empty();
  return data::read_labelled(loader.file, how);
}

LoaderConfig read_loader(const io::Tree& loader) {
  if (!loader.is_map()) loader.wants("a map: name, dataset, ...");
  LoaderConfig config;
  config.tree = loader;
  const std::string& name = loader.at("name").string();
  config.label = loader.get<std::string>("label", "");
  if (name == "batches") {
    config.file = loader.at("file").string();
    for (const auto* extra : loader.unknown({"name", "file", "label"})) config.without_effect.push_back(extra->value.path());
    return config;
  }
  if (name == "glue" || name == "labelled") {
    config.labelled =
        name == "glue" ? read_glue_loader(loader, config.without_effect) : read_labelled_loader(loader, config.without_effect);
    config.tokenizer_name = loader.get<std::string>("tokenizer_name", "");
    return config;
  }
  if (name == "retrieval") {
    config.retrieval = read_retrieval_loader(loader, config.without_effect);
    config.tokenizer_name = loader.get<std::string>("tokenizer_name", "");
    return config;
  }
  if (name != "text") loader.at("name").wants("text, labelled, glue, retrieval or batches");
  io::Tree without = loader;
  without.as_map().erase("label");
  drop_padding_multiple(without);
  config.text = data::read_text_data_config(without);
  config.without_effect = config.text->without_meaning;
  config.tokenizer_name = loader.at("dataset").get<std::string>("tokenizer_name", "");
  return config;
}

int64_t BatchStream::samples_per_epoch(int64_t subset) const {
  const auto all = int64_t(source_->samples_per_epoch());
  const int64_t used = info_.drop_last ? all / info_.global_batch * info_.global_batch : all;
  return subset < 0 ? used : std::min(used, subset * info_.global_batch);
}

int64_t BatchStream::batches_per_epoch(int64_t subset) const {
  const int64_t samples = samples_per_epoch(subset);
  require(samples > 0, info_.where, "the data have ", io::counted(source_->samples_per_epoch(), "sample"), ", not one batch of ",
          info_.global_batch, "; lower the global batch size or set drop_last: false in the loader");
  return (samples + info_.global_batch - 1) / info_.global_batch;
}

BatchStream open_batches(const LoaderConfig& loader, int64_t global_batch, const BatchSettings& settings) {
  const bool own = !loader.tokenizer_name.empty();
  const std::string& name = own ? loader.tokenizer_name : settings.model.tokenizer_name;
  const std::string key = loader.text ? "dataset.tokenizer_name" : "tokenizer_name";
  const auto tokenizer = tokenizer_named(name, own ? where(loader.tree, key) : settings.tokenizer_where);
  StreamInfo info{global_batch};
  info.where = loader.tree.where();
  info.tokenizer = tokenizer_files_of(tokenizer, name, settings.model);
  require(!loader.retrieval, loader.tree.where(), "data of queries and passages are for m2bert finetune retrieval");
  auto source = loader.text       ? open_text(loader, settings, tokenizer, info)
                : loader.labelled ? open_labelled(loader, settings, tokenizer, info)
                                  : open_fixed(loader, settings, info);
  return {std::move(source), std::move(info)};
}

}  // namespace m2bert::train
