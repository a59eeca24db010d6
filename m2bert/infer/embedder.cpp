#include "m2bert/infer/embedder.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "m2bert/error.h"
#include "m2bert/infer/inference_pass.h"
#include "m2bert/io/log.h"
#include "m2bert/models/heads.h"

namespace m2bert::infer {
namespace {

void require_finite(std::span<const float> vector, uint64_t text, const models::Pretrained& pretrained) {
  const bool finite = std::all_of(vector.begin(), vector.end(), [](float v) { return std::isfinite(v); });
  if (!finite) throw NotFiniteError(text, pretrained);
}

int length_limit(const models::Pretrained& pretrained, const std::optional<int>& asked) {
  if (!asked) return pretrained.max_length;
  const int longest = std::max(pretrained.max_positions, pretrained.max_length);
  require(*asked <= longest, "maximum length ", *asked, ": this model takes at most ", longest,
          " tokens; longer texts are cut, so split them or use a model for longer texts");
  if (*asked > pretrained.max_length)
    io::info("maximum length ", *asked, ": the model is set to ", pretrained.max_length, " tokens, and can take ", longest);
  return *asked;
}

models::Poolings pooling_of(const models::Pretrained& pretrained, const std::optional<models::Poolings>& asked) {
  require(pretrained.vectors_error.empty(), pretrained.vectors_error);
  require(asked || pretrained.pooling_error.empty(), pretrained.pooling_error, "; choose one with --pooling");
  if (!asked && !pretrained.pooling_note.empty()) io::info(pretrained.pooling_note);
  const models::Poolings poolings = asked.value_or(pretrained.pooling);
  require(std::ranges::find(poolings, models::Pooling::pooler) == poolings.end() || pretrained.model->has_pooler(),
          "pooling: this model has no pooler weights; choose --pooling mean or --pooling cls");
  return poolings;
}

// Of the vectors before they are cut.
int width_of(const models::Pretrained& pretrained, const models::Poolings& pooling) {
  return pretrained.modules.width(static_cast<int>(pooling.size()) * pretrained.config.hidden_size);
}

int dimensions_of(const models::Pretrained& pretrained, const models::Poolings& pooling, const std::optional<int>& asked) {
  const int width = width_of(pretrained, pooling);
  if (!asked) return std::min(width, pretrained.truncate_dim.value_or(width));
  require(*asked >= 1 && *asked <= width, *asked, " dimensions: the vectors of this model have ", width, ", of which 1 to ", width,
          " can be taken");
  return *asked;
}

VectorForm form_of(const models::Pretrained& pretrained, const models::Poolings& pooling, std::optional<bool> normalize,
                   const std::optional<int>& dimensions) {
  VectorForm form{dimensions_of(pretrained, pooling, dimensions), normalize.value_or(pretrained.normalize)};
  form.normalize_last = dimensions ? form.normalize : normalize.value_or(false);
  return form;
}

}  // namespace

std::string prompt_text(const models::Pretrained& pretrained, const std::optional<std::string>& prompt) {
  const std::string name = prompt.value_or(pretrained.default_prompt);
  const auto named = pretrained.prompts.find(name);
  return named == pretrained.prompts.end() ? name : named->second;
}

std::string why_not_finite(const models::Pretrained& pretrained) {
  const std::string dtype = checkpoint::dtype_name(pretrained.dtype);
  const std::string text = " in " + dtype + ": the model's weights are broken";
  return pretrained.dtype == mx::float16 ? text + ", or its values leave the range of float16; try float32" : text;
}

NotFiniteError::NotFiniteError(uint64_t text, const models::Pretrained& pretrained)
    : Error("text " + std::to_string(text + 1) + " gets a vector with NaN or infinite values" + why_not_finite(pretrained)), text(text) {}

BatchOptions batch_options(const models::Pretrained& pretrained, const EmbedOptions& options) {
  BatchOptions batching;
  batching.pad = options.pad.value_or(pretrained.dynamic_padding ? PadMode::longest : PadMode::max);
  batching.max_length = length_limit(pretrained, options.max_length);
  batching.batch_size = options.batch_size;
  batching.sort = !pretrained.config.monarch_mixer_sequence_mixing;
  batching.truncation_side = options.truncation_side.value_or(pretrained.tokenizer.settings().truncation_side);
  batching.upstream_cut = options.upstream_cut;
  batching.prompt = prompt_text(pretrained, options.prompt);
  batching.offsets = options.offsets || options.overlap;
  batching.overlap = options.overlap;
  return batching;
}

Embedder::Embedder(models::Pretrained pretrained, const EmbedOptions& options)
    : pretrained_(std::move(pretrained)),
      batcher_(pretrained_.tokenizer, batch_options(pretrained_, options)),
      pooling_(pooling_of(pretrained_, options.pooling)),
      form_(form_of(pretrained_, pooling_, options.normalize, options.dimensions)) {
  if (options.normalize_cut) form_.normalize_last = *options.normalize_cut;
}

bool Embedder::normalizes_cut() const { return form_.dim < width_of(pretrained_, pooling_) && form_.normalize_last; }

VectorForm Embedder::form(std::optional<bool> normalize, std::optional<int> dimensions) const {
  if (!normalize && !dimensions) return form_;
  VectorForm form = form_of(pretrained_, pooling_, normalize ? normalize : std::optional(form_.normalize), dimensions);
  if (!dimensions) form.dim = form_.dim;
  return form;
}

std::vector<float> Embedder::embed(const data::Batch& batch, int prompt_tokens, const VectorForm& form) const {
  return models::to_floats(forward(batch, prompt_tokens, form));
}

// The graph of the vectors of a batch.
mx::array Embedder::forward(const data::Batch& batch, int prompt_tokens, const VectorForm& form) const {
  const models::Inputs inputs = models::inputs_of(batch);
  auto pass = inference_pass(after_layer_);
  const int skipped = pretrained_.include_prompt ? 0 : prompt_tokens;
  const mx::array states = pretrained_.model->states_for(pooling_, inputs, pass, skipped);
  std::vector<mx::array> pooled;
  for (const models::Pooling each : pooling_) pooled.push_back(pretrained_.model->pool(states, inputs.attention_mask, each, skipped));
  return after_pooling(pooled.size() == 1 ? pooled.front() : mx::concatenate(pooled, 1), form);
}

mx::array Embedder::after_pooling(mx::array vectors, const VectorForm& form) const {
  if (!pretrained_.modules.empty()) vectors = pretrained_.modules(mx::astype(vectors, mx::float32));
  if (form.normalize) vectors = models::l2_normalize(vectors);
  if (vectors.shape(1) > form.dim) {
    vectors = mx::slice(vectors, {0, 0}, {vectors.shape(0), form.dim});
    if (form.normalize_last) vectors = models::l2_normalize(vectors);
  }
  return vectors;
}

void Embedder::each_row_of_states(const TextBatch& batch, const std::function<void(size_t, std::span<const float>)>& use) const {
  auto pass = inference_pass(after_layer_);
  mx::array states = pretrained_.model->hidden_states(models::inputs_of(batch), pass);  // [B, L, H]
  states.eval();
  for (size_t row = 0; row < batch.texts.size(); ++row) {
    const auto mask = batch.attention_mask.begin() + static_cast<std::ptrdiff_t>(row) * batch.length;
    const int at = static_cast<int>(row), tokens = static_cast<int>(std::count(mask, mask + batch.length, 1));
    use(row, models::to_floats(mx::slice(states, {at, 0, 0}, {at + 1, tokens, states.shape(2)})));
  }
}

PassQueue Embedder::pass_queue() const {
  const auto vectors = [this](const Window& window, const TextBatch& batch) { return forward(batch, window.prompt_tokens, form_); };
  return {vectors, launches_ahead(after_layer_)};
}

Embeddings Embedder::read(const Window& window, PassQueue& passes, uint64_t first, const std::function<bool()>& stop) const {
  const size_t width = static_cast<size_t>(dim());
  Embeddings result{dim(), std::vector<float>(window.texts() * width), window.truncated, window.tokens};
  for (const TextBatch& batch : window.batches) {
    if (stop && stop()) return {};
    const std::vector<float> rows = passes.next();
    for (size_t row = 0; row < batch.texts.size(); ++row) {
      const std::span<const float> vector(rows.data() + row * width, width);
      require_finite(vector, first + batch.texts[row], pretrained_);
      std::copy(vector.begin(), vector.end(), result.vectors.begin() + static_cast<std::ptrdiff_t>(batch.texts[row] * width));
    }
  }
  return result;
}

Embeddings Embedder::operator()(std::span<const std::string> texts, const std::function<void(uint64_t texts_done)>& progress,
                                const std::optional<std::string>& prompt) const {
  Embeddings all{dim(), {}, {}, {}};
  const Batcher batcher = prompt ? batcher_.with_prompt(*prompt) : batcher_;
  const NextText next_text = each_of(texts);
  PassQueue passes = pass_queue();
  // On the heap, because the queue refers to them.
  const auto read_window = [&] {
    auto window = std::make_unique<const Window>(batcher.next(next_text));
    passes.add(*window);
    return window;
  };
  for (auto window = read_window(); window->texts() > 0;) {
    auto next = read_window();
    const Embeddings part = read(*window, passes, all.tokens.size());
    all.vectors.insert(all.vectors.end(), part.vectors.begin(), part.vectors.end());
    all.truncated.insert(all.truncated.end(), part.truncated.begin(), part.truncated.end());
    all.tokens.insert(all.tokens.end(), part.tokens.begin(), part.tokens.end());
    if (progress) progress(all.tokens.size());
    window = std::move(next);
  }
  return all;
}

}  // namespace m2bert::infer
