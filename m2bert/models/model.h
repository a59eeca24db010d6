#pragma once
// A whole model: embeddings, encoder and heads, with upstream's names.
#include <memory>
#include <optional>

#include "m2bert/models/encoder.h"
#include "m2bert/models/heads.h"
#include "m2bert/models/packed/recorded_states.h"

namespace m2bert::models {

enum class Head {
  masked_lm,       // cls.predictions.*, no pooler
  classification,  // pooler and classifier (the retrieval checkpoints have both)
  embedding,       // only the pooler: the flat file of upstream's embedding scripts
  none,            // only the encoder
};

class Model : public nn::Module {
 public:
  // Weights are zeros until they are loaded or init() is called.
  Model(const Config& config, Head head);
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const Config& config() const { return config_; }
  Head head() const { return head_; }
  bool has_pooler() const { return pooler_ != nullptr; }

  // Random values, drawn as in upstream, which copies one layer's block-diagonal weights, filter biases and short filters into all layers;
  // with `independent`, every layer draws its own.
  void init(uint64_t seed, bool independent = false);

  // Last hidden states [B, L, H]. Plants [CLS] tokens if the config says so. With mask_padding, the states at the padding are 0.
  mx::array hidden_states(const Inputs& inputs, nn::Pass& pass) const;
  mx::array hidden_states(const Inputs& inputs) const;

  // Whether the pooling reads the state of the first token alone; skipped: see pool.
  bool reads_first_state(Pooling pooling, int skipped = 0) const;
  // What pool needs for these poolings: hidden_states, or, if each reads the first state alone, only that, [B, 1, H], up to rounding. The
  // last layer then computes one row per sequence. With a hook in the pass, always hidden_states.
  mx::array states_for(const Poolings& poolings, const Inputs& inputs, nn::Pass& pass, int skipped = 0) const;

  // [B, H] from hidden states or from states_for; see pool_states. Throws Error for Pooling::pooler if the model has none; the pooler never
  // skips positions.
  mx::array pool(const mx::array& hidden, const mx::array& attention_mask, Pooling pooling, int skipped = 0) const;

  // The pooling that the config selects: cls with use_cls_token or without a pooler, else pooler.
  Pooling default_pooling() const { return config_.use_cls_token || !pooler_ ? Pooling::cls : Pooling::pooler; }

  // [B, H]; normalize: to length 1.
  mx::array embedding(const Inputs& inputs, Pooling pooling, bool normalize) const;

  // Head::masked_lm. rows [..., H] -> [..., vocab].
  mx::array masked_lm_logits(const mx::array& rows, nn::Pass& pass) const;

  // Head::classification. [B, num_labels].
  mx::array class_logits(const Inputs& inputs, nn::Pass& pass) const;
  // labels: [B] integer (single label), [B] float (regression) or [B, num_labels] (multi label), according to problem_type. If that is
  // absent, num_labels and the dtype decide, as in upstream.
  mx::array classification_loss(const mx::array& logits, const mx::array& labels) const;

  // The dtype of the encoder's states, for int8 weights. Default: that of the embeddings' weights.
  void set_activations(mx::Dtype dtype) {
    unpack();
    embeddings_.activations = dtype;
  }

  // Packs the weights into the layout of the device's inference kernels, and caches the filters: inference is then several times faster.
  // Packed weights are copies. visit(), and with it everything that loads, casts or trains weights (nn::parameters, nn::named_arrays,
  // checkpoint::match), unpacks first, so the copies never become stale; do not change weights through pointers taken before pack(). Passes
  // with dropout or hooks use the plain weights. Evaluates the weights; call it again after changing them. A packed model is not
  // thread-safe.
  void pack();
  // Frees the packed weights and the filter cache.
  void unpack();
  bool is_packed() const { return packed_; }

  void visit(nn::Visitor& v) override;

 private:
  class Bert;  // the modules under "bert."
  mx::array planted(const Inputs& inputs) const;
  std::optional<mx::array> recorded_states(const Inputs& inputs, const nn::Pass& pass) const;
  mx::array classify(const mx::array& vectors) const;
  Inputs encoder_inputs(const Inputs& inputs) const;

  Config config_;
  Head head_;
  Embeddings embeddings_;
  Encoder encoder_;
  std::unique_ptr<PoolerBase> pooler_;
  std::optional<nn::Linear> classifier_;
  std::unique_ptr<packed::Head> packed_classifier_;
  std::unique_ptr<packed::RecordedStates> recorded_;
  std::optional<MaskedLMHead> cls_;
  bool packed_ = false;
};

// Packs a model for the lifetime of this object, for an evaluation during training.
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
