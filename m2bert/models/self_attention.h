#pragma once
// Sequence mixers by attention.
#include "m2bert/models/config.h"
#include "m2bert/models/sequence_mixer.h"
#include "m2bert/nn/layer_norm.h"
#include "m2bert/nn/linear.h"

namespace m2bert::models {

// Attention over rows without padding, with the ALiBi bias, residual and norm. Source: BertUnpadAttention of the reference.
class UnpadSelfAttention : public SequenceMixer {
 public:
  explicit UnpadSelfAttention(const Config& config);
  mx::array operator()(const mx::array& rows, const EncoderContext& context, nn::Pass& pass) const override;  // [nnz, H]
  void visit(nn::Visitor& v) override;
  void init(float initializer_range, nn::KeySequence& keys) override;

  nn::Linear Wqkv, dense;  // H -> 3 H, H -> H
  nn::LayerNorm norm;

 private:
  int heads_;
  float attention_dropout_, hidden_dropout_;
};

// Attention over padded batches with residual and norm. Source: Hugging Face's BertAttention.
class PaddedSelfAttention : public SequenceMixer {
 public:
  explicit PaddedSelfAttention(const Config& config);
  mx::array operator()(const mx::array& x_bld, const EncoderContext& context, nn::Pass& pass) const override;
  void visit(nn::Visitor& v) override;
  void init(float initializer_range, nn::KeySequence& keys) override;

  nn::Linear query, key, value, dense;
  nn::LayerNorm norm;

 private:
  int heads_;
  float attention_dropout_, hidden_dropout_;
};

}  // namespace m2bert::models
