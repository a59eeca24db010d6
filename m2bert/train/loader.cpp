#include "m2bert/train/loader.h"

#include <algorithm>

#include "m2bert/data/text_data.h"
#include "m2bert/error.h"
#include "m2bert/io/hash.h"
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

tokenize::WordPiece tokenizer_named(const std::string& name, const std::string& where) {
  if (name == "bert-base-uncased") return tokenize::WordPiece::builtin();
  return with_prefix(where, [&] { return tokenize::WordPiece::from_file(name); });
}

// Empty if the model has fewer tokens than the tokenizer: then the batches have another vocabulary.
std::string vocabulary_of(const tokenize::WordPiece& tokenizer, const models::Config& model) {
  std::string lines;
  if (tokenizer.vocab_size() > size_t(model.vocab_size)) return lines;
  for (size_t id = 0; id < tokenizer.vocab_size(); ++id) (lines += tokenizer.token(int32_t(id))) += '\n';
  return lines;
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

BatchStream open_fixed(const LoaderConfig& loader, int64_t global_batch, const BatchSettings& settings,
                       const tokenize::WordPiece& tokenizer) {
  auto source =
      with_prefix(where(loader.tree, "file"), [&] { return std::make_unique<FixedBatches>(loader.file, settings.rank, settings.size); });
  require(source->global_rows() == global_batch, where(loader.tree, "file"), loader.file.string(), ": its batches have ",
          source->global_rows(), " rows, the recipe's global batch ", global_batch);
  const int length = source->length();
  require_fits(loader, "file", length, settings.model);
  with_prefix(where(loader.tree, "file"), [&] { source->require_ids_below(settings.model.vocab_size); });
  BatchStream stream(std::move(source), global_batch, length, true, vocabulary_of(tokenizer, settings.model), loader.tree.where());
  stream.set_fingerprint(io::hash_file(loader.file));
  return stream;
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

BatchStream open_text(const LoaderConfig& loader, int64_t global_batch, const BatchSettings& settings,
                      const tokenize::WordPiece& tokenizer) {
  data::TextDataConfig config = *loader.text;
  require_fits(loader, "dataset.max_seq_len", config.max_seq_len, settings.model);
  require(tokenizer.vocab_size() <= size_t(settings.model.vocab_size), where(loader.tree, "dataset.tokenizer_name"), "the tokenizer has ",
          tokenizer.vocab_size(), " tokens, the model has embeddings for ", settings.model.vocab_size, " (model.model_config.vocab_size)");
  if (!config.mask_seed) config.mask_seed = settings.seed;
  const data::BatchShape shape{int(global_batch), settings.rank, settings.size};
  auto source = with_prefix(where(loader.tree, location_key(loader.tree)), [&] { return data::open_text_data(config, tokenizer, shape); });
  BatchStream stream(std::move(source), global_batch, config.max_seq_len, config.drop_last, vocabulary_of(tokenizer, settings.model),
                     loader.tree.where());
  stream.set_fingerprint(fingerprint_of(config));
  return stream;
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

}  // namespace

LoaderConfig read_loader(const io::Tree& loader) {
  if (!loader.is_map()) loader.wants("a map: name, dataset, ...");
  LoaderConfig config;
  config.tree = loader;
  const std::string& name = loader.at("name").string();
  if (name == "batches") {
    config.file = loader.at("file").string();
    for (const auto* extra : loader.unknown({"name", "file"})) config.without_effect.push_back(extra->value.path());
    return config;
  }
  if (name != "text") loader.at("name").wants("text or batches");
  io::Tree without = loader;
  drop_padding_multiple(without);
  config.text = data::read_text_data_config(without);
  config.without_effect = config.text->without_meaning;
  config.tokenizer_name = loader.at("dataset").get<std::string>("tokenizer_name", "");
  return config;
}

BatchStream::BatchStream(std::unique_ptr<data::BatchSource> source, int64_t global_batch, int length, bool drop_last,
                         std::string vocabulary, std::string where)
    : source_(std::move(source)),
      global_batch_(global_batch),
      length_(length),
      drop_last_(drop_last),
      vocabulary_(std::move(vocabulary)),
      where_(std::move(where)) {}

int64_t BatchStream::samples_per_epoch(int64_t subset) const {
  const auto all = int64_t(source_->samples_per_epoch());
  const int64_t used = drop_last_ ? all / global_batch_ * global_batch_ : all;
  return subset < 0 ? used : std::min(used, subset * global_batch_);
}

int64_t BatchStream::batches_per_epoch(int64_t subset) const {
  const int64_t samples = samples_per_epoch(subset);
  require(samples > 0, where_, "the data have ", source_->samples_per_epoch(), " samples, not one batch of ", global_batch_,
          "; lower the global batch size or set drop_last: false in the loader");
  return (samples + global_batch_ - 1) / global_batch_;
}

BatchStream open_batches(const LoaderConfig& loader, int64_t global_batch, const BatchSettings& settings) {
  const bool own = !loader.tokenizer_name.empty();
  const auto tokenizer = tokenizer_named(own ? loader.tokenizer_name : settings.model.tokenizer_name,
                                         own ? where(loader.tree, "dataset.tokenizer_name") : settings.tokenizer_where);
  if (loader.text) return open_text(loader, global_batch, settings, tokenizer);
  return open_fixed(loader, global_batch, settings, tokenizer);
}

}  // namespace m2bert::train
