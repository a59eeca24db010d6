#pragma once
// The heads on top of the encoder: poolers and the masked-LM head.
#include <memory>

#include "m2bert/models/config.h"
#include "m2bert/models/packed/head.h"
#include "m2bert/models/pooling.h"
#include "m2bert/nn/embedding.h"
#include "m2bert/nn/layer_norm.h"
#include "m2bert/nn/linear.h"
#include "m2bert/nn/pass.h"
#include "m2bert/ops/activation_kind.h"

namespace m2bert::models {

class PoolerBase : public nn::Module {
 public:
  // hidden [B, L, H], mask [B, L] -> [B, H]
  virtual mx::array operator()(const mx::array& hidden, const mx::array& mask) const = 0;
  virtual void init(float initializer_range, nn::KeySequence& keys) = 0;
  // Packs weights for inference, until unpack().
  virtual void pack() {}
  virtual void unpack() {}
};

// tanh(dense(h)) of the first state, of the masked mean (pool_all), or of the mean over planted tokens. Source: upstream's BertPooler.
class Pooler : public PoolerBase {
 public:
  explicit Pooler(const Config& config);
  mx::array operator()(const mx::array& hidden, const mx::array& mask) const override;
  void visit(nn::Visitor& v) override { v("dense", dense); }
  void init(float initializer_range, nn::KeySequence& keys) override { dense.init_normal(initializer_range, keys); }
  void pack() override { packed_ = packed::pack_head({dense.matrix(), dense.bias}); }
  void unpack() override { packed_.reset(); }

  nn::Linear dense;

 private:
  mx::array finish(const mx::array& state) const;

  bool pool_all_, planting_, planting_as_upstream_, masks_padding_;
  std::unique_ptr<packed::Head> packed_;
};

// Two rounds of attention with one shared Wqkv, softmax over the query axis. Source: upstream's AttentionPooler. With mask_padding, the
// padding is neither a query nor a key.
class AttentionPooler : public PoolerBase {
 public:
  explicit AttentionPooler(const Config& config);
  mx::array operator()(const mx::array& hidden, const mx::array& mask) const override;
  void visit(nn::Visitor& v) override;
  void init(float initializer_range, nn::KeySequence& keys) override;

  nn::Linear Wqkv, dense1, dense2, dense3, dense4, dense;

 private:
  mx::array attend(const mx::array& x, const mx::array& mask) const;

  bool masks_padding_;
};

// dense, activation, LayerNorm (eps always 1e-12), then the decoder, whose weight is that of the word embeddings.
// Source: upstream's BertOnlyMLMHead; hf_bert also stores the bias as predictions.bias.
class MaskedLMHead : public nn::Module {
 public:
  explicit MaskedLMHead(const Config& config);
  // rows [..., H] -> logits [..., vocab]
  mx::array operator()(const mx::array& rows, nn::Pass& pass) const;
  // The decoder's weight is an alias of the word embeddings' weight, which the model owns.
  void visit(nn::Visitor& v) override;
  void tie(nn::Embedding& word_embeddings) { word_embeddings_ = &word_embeddings; }
  void init(float initializer_range, nn::KeySequence& keys) { dense.init_normal(initializer_range, keys); }

  nn::Linear dense;
  nn::LayerNorm norm;
  mx::array bias;  // [vocab]

 private:
  ops::Activation activation_;
  bool hf_names_;
  nn::Embedding* word_embeddings_ = nullptr;
};

// [B, L] with a 1 at 0, 128, 256, ... below L / 128 * 128: where token planting puts [CLS].
mx::array planted_positions(int batch, int L);
// [1, L] with a 1 at 0, 128, 256, ...: where it does so with mask_padding, if a token is there.
mx::array planting_stride(int L);

// x / |x|_2 per row, like torch's normalize (the norm is at least 1e-12).
mx::array l2_normalize(const mx::array& x);

}  // namespace m2bert::models
