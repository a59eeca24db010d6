#pragma once
// A whole model: embeddings, encoder and heads, under the reference's names.
#include <memory>
#include <optional>

#include "m2bert/models/encoder.h"
#include "m2bert/models/heads.h"

namespace m2bert::models {

enum class Head {
  masked_lm,       // cls.predictions.*, no pooler
  classification,  // pooler and classifier (the retrieval checkpoints have both)
  embedding,       // pooler alone: the flat file of the reference's embedding scripts
  none,            // the encoder alone
};

// How the states of a text become one vector.
enum class Pooling {
  pooler,  // the pooler's output: the reference's sentence embedding
  cls,     // the state of the first token (use_cls_token)
  mean,    // mean over the tokens
  max,     // largest value over the tokens
};

// "pooler", "cls", "mean", "max". pooling_named throws Error for another name.
const char* name(Pooling pooling);
Pooling pooling_named(const std::string& text);

class Model : public nn::Module {
 public:
  // Weights are zeros until they are loaded or init() is called.
  Model(const Config& config, Head head);
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const Config& config() const { return config_; }
  Head head() const { return head_; }
  bool has_pooler() const { return pooler_ != nullptr; }

  // Random values as the reference draws them; `independent` draws every layer by itself (the reference copies one layer's
  // block-diagonal weights, filter biases and short filters into all).
  void init(uint64_t seed, bool independent = false);

  // Last hidden states [B, L, H]. Plants [CLS] tokens where the config asks for it.
  mx::array hidden_states(const Inputs& inputs, nn::Pass& pass) const;
  mx::array hidden_states(const Inputs& inputs) const;

  // [B, H] from hidden states. Error for Pooling::pooler where the model has none.
  mx::array pool(const mx::array& hidden, const mx::array& attention_mask, Pooling pooling) const;

  // The pooling that the config means: cls with use_cls_token, else the pooler.
  Pooling default_pooling() const { return config_.use_cls_token || !pooler_ ? Pooling::cls : Pooling::pooler; }

  // [B, H]; normalized to length 1 on request.
  mx::array embedding(const Inputs& inputs, Pooling pooling, bool normalize) const;

  // Head::masked_lm. rows [..., H] -> [..., vocab].
  mx::array masked_lm_logits(const mx::array& rows, nn::Pass& pass) const;

  // Head::classification. [B, num_labels].
  mx::array class_logits(const Inputs& inputs, nn::Pass& pass) const;
  // labels [B] integer (single label), [B] float (regression), [B, num_labels] (multi label), by problem_type or, where it is
  // absent, by num_labels and dtype as in the reference.
  mx::array classification_loss(const mx::array& logits, const mx::array& labels) const;

  // The dtype of the states that the encoder works on; that of the embeddings' weights if it is not set. For int8 weights.
  void set_activations(mx::Dtype dtype) { embeddings_.activations = dtype; }

  // Packs the weights into the layout of the device's inference kernels, and caches the filters: inference is then several times faster.
  // Packed weights are copies. visit(), and with it everything that loads, casts or trains weights (nn::parameters, nn::named_arrays,
  // checkpoint::match), unpacks first, so that they never go stale; do not change weights through pointers taken before pack(). Passes with
  // dropout or hooks use the weights themselves. Evaluates the weights; call it again after they changed. A packed model is for one thread
  // at a time.
  void pack();
  // Frees what pack() made.
  void unpack();
  bool is_packed() const { return packed_; }

  void visit(nn::Visitor& v) override;

 private:
  class Bert;  // what stands under "bert."
  mx::array planted(const mx::array& input_ids) const;

  Config config_;
  Head head_;
  Embeddings embeddings_;
  Encoder encoder_;
  std::unique_ptr<PoolerBase> pooler_;
  std::optional<nn::Linear> classifier_;
  std::optional<MaskedLMHead> cls_;
  bool packed_ = false;
};

// A model that is packed for the lifetime of this object: for an evaluation during training.
class PackedScope {
 public:
  explicit PackedScope(Model& model) : model_(model) { model_.pack(); }
  ~PackedScope() { model_.unpack(); }
  PackedScope(const PackedScope&) = delete;
  PackedScope& operator=(const PackedScope&) = delete;

 private:
  Model& model_;
};

}  // namespace m2bert::models
