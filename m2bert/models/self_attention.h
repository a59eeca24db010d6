#pragma once
// Sequence mixers by attention.
#include <memory>

#include "m2bert/models/config.h"
#include "m2bert/models/packed/attention.h"
#include "m2bert/models/sequence_mixer.h"
#include "m2bert/nn/layer_norm.h"
#include "m2bert/nn/linear.h"

namespace m2bert::models {

// Attention over rows without padding, with the ALiBi bias, residual and norm. Source: upstream's BertUnpadAttention.
class UnpadSelfAttention : public SequenceMixer {
 public:
  explicit UnpadSelfAttention(const Config& config);
  mx::array operator()(const mx::array& rows, const EncoderContext& context, nn::Pass& pass) const override;  // [nnz, H]
  mx::array first(const mx::array& rows, const EncoderContext& context, nn::Pass& pass) const override;
  void visit(nn::Visitor& v) override;
  void init(float initializer_range, nn::KeySequence& keys) override;
  void pack(const PackOptions& options) override;
  void unpack() override { packed_.reset(); }

  nn::Linear Wqkv, dense;  // H -> 3 H, H -> H
  nn::LayerNorm norm;

 private:
  int heads_;
  float attention_dropout_, hidden_dropout_;
  std::unique_ptr<packed::Attention> packed_;
};

// Attention with residual and norm, over padded batches [B, L, H], or over rows without padding [nnz, H] if the context has an unpadding.
// Source: Hugging Face's BertAttention.
class PaddedSelfAttention : public SequenceMixer {
 public:
  explicit PaddedSelfAttention(const Config& config);
  mx::array operator()(const mx::array& x, const EncoderContext& context, nn::Pass& pass) const override;
  mx::array first(const mx::array& x, const EncoderContext& context, nn::Pass& pass) const override;
  void visit(nn::Visitor& v) override;
  void init(float initializer_range, nn::KeySequence& keys) override;
  void pack(const PackOptions& options) override;
  void unpack() override { packed_.reset(); }

  nn::Linear query, key, value, dense;
  nn::LayerNorm norm;

 private:
  int heads_;
  float attention_dropout_, hidden_dropout_;
  std::unique_ptr<packed::Attention> packed_;
};

}  // namespace m2bert::models
