#pragma once
// Embeddings and the stack of layers.
#include <memory>
#include <optional>
#include <vector>

#include "m2bert/models/config.h"
#include "m2bert/models/inputs.h"
#include "m2bert/models/sequence_mixer.h"
#include "m2bert/nn/embedding.h"
#include "m2bert/nn/layer_norm.h"

namespace m2bert::models {

// dropout(LayerNorm(word + token type [+ position])). Source: upstream's and Hugging Face's BertEmbeddings.
class Embeddings : public nn::Module {
 public:
  explicit Embeddings(const Config& config);
  mx::array operator()(const Inputs& inputs, nn::Pass& pass) const;  // [B, L, H]
  void visit(nn::Visitor& v) override;
  void init(float initializer_range, nn::KeySequence& keys);
  // Packed, inference sums and normalises in one pass, without a gradient.
  void pack() { packed_ = word_embeddings.weight.dtype() != mx::float16; }
  void unpack() { packed_ = false; }

  nn::Embedding word_embeddings;                     // [vocab, H]
  std::optional<nn::Embedding> position_embeddings;  // [max_position_embeddings, H]
  nn::Embedding token_type_embeddings;               // [types, H]
  nn::LayerNorm norm;
  std::optional<mx::Dtype> activations;   // dtype of the result; default: that of the weights
  std::optional<mx::array> position_ids;  // [1, max_position_embeddings] int64, a buffer in upstream

 private:
  mx::array fused(const mx::array& ids, const mx::array& types, const std::optional<mx::array>& positions) const;

  float dropout_;
  bool packed_ = false;
};

// A sequence mixer, then a channel mixer.
class Layer : public nn::Module {
 public:
  explicit Layer(const Config& config);
  mx::array operator()(const mx::array& x, const EncoderContext& context, nn::Pass& pass) const;
  // The result for the first tokens alone, [B, H]; see SequenceMixer::first.
  mx::array first(const mx::array& x, const EncoderContext& context, nn::Pass& pass) const;
  int row_alignment(int seqlen, mx::Dtype dtype, const nn::Pass& pass) const { return attention_->row_alignment(seqlen, dtype, pass); }
  void visit(nn::Visitor& v) override;
  void init(float initializer_range, nn::KeySequence& keys);
  void pack(const PackOptions& options);
  void unpack();

 private:
  std::unique_ptr<SequenceMixer> attention_;  // "attention" in checkpoints, whatever it is
  std::unique_ptr<ChannelMixer> mlp_;
  bool mlp_has_name_;
};

class Encoder : public nn::Module {
 public:
  explicit Encoder(const Config& config);
  // [B, L, H] -> [B, L, H] for the states of these inputs. The ALiBi variant and mask_padding return zeros at the padding; Hugging Face's
  // BERT does so only if the pass skips the padding.
  mx::array operator()(const mx::array& x, const Inputs& inputs, nn::Pass& pass) const;
  // The same for position 0 alone, [B, H], up to rounding: the last layer computes no other row.
  mx::array first(const mx::array& x, const Inputs& inputs, nn::Pass& pass) const;
  void visit(nn::Visitor& v) override;
  void init(float initializer_range, bool independent, nn::KeySequence& keys);
  void pack();
  void unpack();
  // Whether padding has no part in the states: the mask is not read.
  bool reads_tokens_alone() const { return !unpads_ && !adds_mask_ && !alibi_; }

 private:
  EncoderContext context(const mx::array& x, const Inputs& inputs, const nn::Pass& pass) const;
  mx::array run(mx::array h, size_t layers, const EncoderContext& context, nn::Pass& pass) const;

  std::vector<Layer> layers_;
  bool unpads_, adds_mask_, alibi_;
  int heads_;
};

}  // namespace m2bert::models
