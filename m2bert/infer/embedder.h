#pragma once
// Texts to vectors.
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "m2bert/error.h"
#include "m2bert/infer/batches.h"
#include "m2bert/infer/pass_queue.h"
#include "m2bert/models/pretrained.h"

namespace m2bert::infer {

struct EmbedOptions {
  std::optional<PadMode> pad;               // default: max, or longest for models with dynamic padding
  std::optional<int> max_length;            // tokens; default: the model's; above it only up to what the model can take, with a note
  std::optional<models::Poolings> pooling;  // default: the model's
  std::optional<bool> normalize;            // to length 1; default: the model's
  // The first values of each vector only, for models trained with Matryoshka losses; at most as many as the vector has. They are scaled to
  // length 1 again if the vectors are normalised. Default: the folder's truncate_dim, which as in sentence-transformers scales them again
  // only if `normalize` says so.
  std::optional<int> dimensions;
  std::optional<bool> normalize_cut;  // whether vectors that were cut are scaled again; default: as said at `dimensions`
  std::optional<std::string> prompt;  // put in front of each text: the name of one of the model's prompts, or a text; default: the model's
  int batch_size = 32;
  std::optional<tokenize::TruncationSide> truncation_side;  // default: the tokenizer's, which is right unless its files say left
  bool upstream_cut = false;   // truncate the finished encoding, as upstream does, so that a long text loses its [SEP]
  bool offsets = false;        // for token_vectors() and late_chunks(): see BatchOptions
  std::optional<int> overlap;  // for late_chunks(): see BatchOptions
};

// What follows the pooling and the modules of a vector.
struct VectorForm {
  int dim = 0;                  // the first values only
  bool normalize = false;       // the whole vector, to length 1
  bool normalize_last = false;  // the first values again
  auto operator<=>(const VectorForm&) const = default;
};

struct Embeddings {
  int dim = 0;
  std::vector<float> vectors;      // [n, dim]
  std::vector<uint8_t> truncated;  // [n]
  std::vector<int32_t> tokens;     // [n], without padding
};

// The text of a prompt: that of the model's prompt of this name, otherwise the argument itself. Without one, the model's default prompt.
std::string prompt_text(const models::Pretrained& pretrained, const std::optional<std::string>& prompt);

// The end of the error for values that are NaN or infinite: the dtype in use, and what to do.
std::string why_not_finite(const models::Pretrained& pretrained);

// "text 3 gets a vector with NaN or infinite values in float16: ...".
class NotFiniteError : public Error {
 public:
  NotFiniteError(uint64_t text, const models::Pretrained& pretrained);
  uint64_t text;  // its index, from 0
};

// The batching for a model under these options. Error: a maximum length above what the model can take.
BatchOptions batch_options(const models::Pretrained& pretrained, const EmbedOptions& options);

class Embedder {
 public:
  // Error: the model gives no vectors, or not with its pooling, or the pooling does not fit its modules, or it has fewer dimensions than
  // were asked for. Notes a pooling that nobody chose.
  Embedder(models::Pretrained pretrained, const EmbedOptions& options);

  // All texts; the same vectors as window by window. progress is called after each window. prompt: instead of that of the options. Error
  // names the text whose vector is not finite.
  Embeddings operator()(std::span<const std::string> texts, const std::function<void(uint64_t texts_done)>& progress = {},
                        const std::optional<std::string>& prompt = std::nullopt) const;

  // The vectors of one batch, [rows, dim]; prompt_tokens as in Window. Call it from the thread that owns MLX.
  std::vector<float> embed(const data::Batch& batch, int prompt_tokens = 0) const { return embed(batch, prompt_tokens, form_); }
  // The same in another form than that of the options; [rows, form.dim].
  std::vector<float> embed(const data::Batch& batch, int prompt_tokens, const VectorForm& form) const;

  // The form of vectors under other options than those of this embedder. Error: more dimensions than the vectors have.
  VectorForm form(std::optional<bool> normalize, std::optional<int> dimensions) const;
  const VectorForm& form() const { return form_; }

  // Called after each layer of a pass, on the thread that computes, once its states are there. It may call embed() for other work.
  void set_after_layer(std::function<void()> after_layer) { after_layer_ = std::move(after_layer); }

  // The passes of windows that are added to it, for read(). The embedder must outlive it, and stay where it is.
  PassQueue pass_queue() const;
  // A window's vectors in the order of its texts; it is the next one of the queue. first: the number of texts before it, for errors.
  // stop is called before each batch: true aborts and returns an empty result, and the queue cannot be used again.
  Embeddings read(const Window& window, PassQueue& passes, uint64_t first, const std::function<bool()>& stop = {}) const;

  // The states of each row's tokens, without padding: `use` gets the row and its states [tokens, hidden] as float32.
  void each_row_of_states(const TextBatch& batch, const std::function<void(size_t row, std::span<const float> states)>& use) const;
  // What follows the pooling: pooled [n, width] -> vectors [n, dim]. Modules of the folder, normalisation, the first values.
  mx::array after_pooling(mx::array pooled) const { return after_pooling(std::move(pooled), form_); }
  mx::array after_pooling(mx::array pooled, const VectorForm& form) const;

  int dim() const { return form_.dim; }
  const Batcher& batcher() const { return batcher_; }
  const models::Pretrained& pretrained() const { return pretrained_; }
  const models::Poolings& pooling() const { return pooling_; }
  bool normalize() const { return form_.normalize; }
  // Whether vectors are cut to their first values and then scaled to length 1 again.
  bool normalizes_cut() const;

 private:
  mx::array forward(const data::Batch& batch, int prompt_tokens, const VectorForm& form) const;

  models::Pretrained pretrained_;
  Batcher batcher_;
  models::Poolings pooling_;
  VectorForm form_;
  std::function<void()> after_layer_;
};

}  // namespace m2bert::infer
