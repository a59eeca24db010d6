#include "m2bert/infer/embedder.h"

#include <algorithm>
#include <cmath>

#include "m2bert/error.h"

namespace m2bert::infer {
namespace {

void require_finite(std::span<const float> vector, uint64_t text, mx::Dtype dtype) {
  require(std::all_of(vector.begin(), vector.end(), [](float v) { return std::isfinite(v); }), "text ", text + 1,
          " gets a vector with NaN or infinite values (dtype ", checkpoint::dtype_name(dtype), "): the model's weights are broken",
          dtype == mx::float16 ? ", or its values leave the range of float16" : "");
}

int length_limit(const models::Pretrained& pretrained, const std::optional<int>& asked) {
  if (!asked) return pretrained.max_length;
  require(*asked <= pretrained.max_length, "maximum length ", *asked, ": this model takes at most ", pretrained.max_length,
          " tokens; longer texts are cut, so split them or use a model for longer texts");
  return *asked;
}

}  // namespace

std::string prompt_text(const models::Pretrained& pretrained, const std::optional<std::string>& prompt) {
  const std::string name = prompt.value_or(pretrained.default_prompt);
  const auto named = pretrained.prompts.find(name);
  return named == pretrained.prompts.end() ? name : named->second;
}

BatchOptions batch_options(const models::Pretrained& pretrained, const EmbedOptions& options) {
  BatchOptions batching;
  batching.pad = options.pad.value_or(pretrained.dynamic_padding ? PadMode::longest : PadMode::max);
  batching.max_length = length_limit(pretrained, options.max_length);
  batching.batch_size = options.batch_size;
  batching.sort = !pretrained.config.monarch_mixer_sequence_mixing;
  batching.truncation_side = options.truncation_side;
  batching.upstream_cut = options.upstream_cut;
  batching.prompt = prompt_text(pretrained, options.prompt);
  return batching;
}

Embedder::Embedder(models::Pretrained pretrained, const EmbedOptions& options)
    : pretrained_(std::move(pretrained)),
      batcher_(pretrained_.tokenizer, batch_options(pretrained_, options)),
      pooling_(options.pooling.value_or(pretrained_.pooling)),
      normalize_(options.normalize.value_or(pretrained_.normalize)) {
  require(pooling_ != models::Pooling::pooler || pretrained_.model->has_pooler(),
          "pooling: this model has no pooler weights; choose --pooling mean or --pooling cls");
}

std::vector<float> Embedder::embed(const data::Batch& batch) const {
  return models::to_floats(pretrained_.model->embedding(models::inputs_of(batch), pooling_, normalize_));
}

Embeddings Embedder::embed(const Window& window, uint64_t first, const std::function<bool()>& stop) const {
  const size_t width = static_cast<size_t>(dim());
  Embeddings result{dim(), std::vector<float>(window.texts() * width), window.truncated, window.tokens};
  for (const TextBatch& batch : window.batches) {
    if (stop && stop()) return {};
    const std::vector<float> rows = embed(batch);
    for (size_t row = 0; row < batch.texts.size(); ++row) {
      const std::span<const float> vector(rows.data() + row * width, width);
      require_finite(vector, first + batch.texts[row], pretrained_.dtype);
      std::copy(vector.begin(), vector.end(), result.vectors.begin() + static_cast<std::ptrdiff_t>(batch.texts[row] * width));
    }
  }
  return result;
}

Embeddings Embedder::operator()(std::span<const std::string> texts, const std::function<void(uint64_t texts_done)>& progress) const {
  Embeddings all{dim(), {}, {}, {}};
  batcher_.for_each_window(each_of(texts), [&](const Window& window, uint64_t first) {
    const Embeddings part = embed(window, first);
    all.vectors.insert(all.vectors.end(), part.vectors.begin(), part.vectors.end());
    all.truncated.insert(all.truncated.end(), part.truncated.begin(), part.truncated.end());
    all.tokens.insert(all.tokens.end(), part.tokens.begin(), part.tokens.end());
    if (progress) progress(all.tokens.size());
  });
  return all;
}

}  // namespace m2bert::infer
