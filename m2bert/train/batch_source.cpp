#include "m2bert/train/batch_source.h"

#include <algorithm>

#include "m2bert/error.h"
#include "m2bert/tokenize/wordpiece.h"
#include "m2bert/train/fixed_batches.h"

namespace m2bert::train {

namespace {

tokenize::WordPiece tokenizer_named(const std::string& name) {
  return name == "bert-base-uncased" ? tokenize::WordPiece::builtin() : tokenize::WordPiece::from_file(name);
}

// Empty where the model has fewer tokens than the tokenizer: the vocabulary is not the batches' then.
std::string vocabulary_of(const tokenize::WordPiece& tokenizer, const models::Config& model) {
  std::string lines;
  if (tokenizer.vocab_size() > size_t(model.vocab_size)) return lines;
  for (size_t id = 0; id < tokenizer.vocab_size(); ++id) (lines += tokenizer.token(int32_t(id))) += '\n';
  return lines;
}

// A token or position that the model has no place for would end in a crash or in nonsense.
void require_fits(const io::Tree& loader, int length, const models::Config& model) {
  require(length <= model.max_length(), loader.location(), ": ", loader.path(), ": its texts have up to ", length,
          " tokens, the model takes ", model.max_length());
}

BatchStream open_fixed(const io::Tree& loader, int64_t global_batch, const BatchSettings& settings) {
  auto source = std::make_unique<FixedBatches>(loader.at("file").string(), settings.rank, settings.size);
  require(source->global_rows() == global_batch, loader.location(), ": ", loader.path(), ": its batches have ", source->global_rows(),
          " rows, the recipe's global batch ", global_batch);
  const int length = source->length();
  require_fits(loader, length, settings.model);
  source->require_ids_below(settings.model.vocab_size);
  return {std::move(source), global_batch, length, true, vocabulary_of(tokenizer_named(settings.model.tokenizer_name), settings.model)};
}

}  // namespace

BatchStream::BatchStream(std::unique_ptr<data::BatchSource> source, int64_t global_batch, int length, bool drop_last,
                         std::string vocabulary)
    : source_(std::move(source)), global_batch_(global_batch), length_(length), drop_last_(drop_last), vocabulary_(std::move(vocabulary)) {}

int64_t BatchStream::samples_per_epoch(int64_t subset) const {
  const auto all = int64_t(source_->samples_per_epoch());
  const int64_t used = drop_last_ ? all / global_batch_ * global_batch_ : all;
  return subset < 0 ? used : std::min(used, subset * global_batch_);
}

int64_t BatchStream::batches_per_epoch(int64_t subset) const {
  const int64_t samples = samples_per_epoch(subset);
  require(samples > 0, "the data have ", source_->samples_per_epoch(), " samples, not one batch of ", global_batch_,
          "; lower global_train_batch_size or set drop_last: false in the loader");
  return (samples + global_batch_ - 1) / global_batch_;
}

BatchStream open_batches(const io::Tree& loader, int64_t global_batch, const BatchSettings& settings) {
  const io::Tree& name = loader.at("name");
  if (name.string() == "batches") return open_fixed(loader, global_batch, settings);
  name.wants("text or batches");
}

}  // namespace m2bert::train
