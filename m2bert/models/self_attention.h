#pragma once
// Sequence mixers by attention.
#include "m2bert/models/config.h"
#include "m2bert/models/sequence_mixer.h"
#include "m2bert/nn/kept.h"
#include "m2bert/nn/layer_norm.h"
#include "m2bert/nn/linear.h"
#include "m2bert/ops/packed_linear.h"

namespace m2bert::models {

// The products of an attention layer for inference, with weights laid out when they are first used.
class AttentionProducts {
 public:
  struct Prepared {
    ops::PackedLinear qkv, out;  // H -> 3 H; H -> H with residual and norm
  };
  // Nothing where the kernels do not take them: in training, or where somebody watches the stages. qkv: one layer H -> 3 H, or three.
  std::optional<Prepared> operator()(const std::vector<const nn::Linear*>& qkv, const nn::Linear& dense, const nn::LayerNorm& norm,
                                     const mx::array& x, const nn::Pass& pass) const;

 private:
  mutable nn::Kept<Prepared> prepared_;
};

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
  AttentionProducts products_;
};

// Attention with residual and norm, over padded batches [B, L, H], or over rows without padding [nnz, H] where the context has an
// unpadding. Source: Hugging Face's BertAttention.
class PaddedSelfAttention : public SequenceMixer {
 public:
  explicit PaddedSelfAttention(const Config& config);
  mx::array operator()(const mx::array& x, const EncoderContext& context, nn::Pass& pass) const override;
  void visit(nn::Visitor& v) override;
  void init(float initializer_range, nn::KeySequence& keys) override;

  nn::Linear query, key, value, dense;
  nn::LayerNorm norm;

 private:
  int heads_;
  float attention_dropout_, hidden_dropout_;
  AttentionProducts products_;
};

}  // namespace m2bert::models
