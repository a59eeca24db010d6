#pragma once
// Channel mixers: the feed-forward part of a layer, with its residual and norm.
#include <variant>

#include "m2bert/models/config.h"
#include "m2bert/models/sequence_mixer.h"
#include "m2bert/nn/blockdiag_linear.h"
#include "m2bert/nn/kept.h"
#include "m2bert/nn/layer_norm.h"
#include "m2bert/nn/linear.h"
#include "m2bert/ops/feed_forward.h"

namespace m2bert::models {

// A dense or a block-diagonal (use_monarch_mlp) linear layer.
class MonarchOrDenseLinear : public nn::Module {
 public:
  MonarchOrDenseLinear(int in, int out, bool with_bias, const Config& config);
  mx::array operator()(const mx::array& x) const;
  void visit(nn::Visitor& v) override;
  void init(float initializer_range, nn::KeySequence& keys);

  bool is_plain() const;  // no padding: the layer is its matrix and bias
  ops::Weight matrix() const;
  const std::optional<mx::array>& bias() const;

 private:
  std::variant<nn::Linear, nn::BlockdiagLinear> linear_;
};

// The kernel of a whole channel mixer (ops/feed_forward.h), with its weights laid out when it is first used.
class FeedForwardKernel {
 public:
  // The channel mixer's result; nothing where the kernel does not take it: in training, or where somebody watches the stages.
  std::optional<mx::array> operator()(const mx::array& x, const ops::FeedForwardWeights& weights, const nn::Pass& pass) const;

 private:
  mutable nn::Kept<ops::PackedFeedForward> prepared_;
};

// norm(wo(gelu(gated_layers(x))) + x), or with use_glu_mlp norm(wo(gelu(g[:I]) * g[I:]) + x), g = gated_layers(x).
// Source: BertMLP and BertGatedLinearUnitMLP of the reference.
class Mlp : public ChannelMixer {
 public:
  explicit Mlp(const Config& config);
  mx::array operator()(const mx::array& x, nn::Pass& pass) const override;
  void visit(nn::Visitor& v) override;
  void init(float initializer_range, nn::KeySequence& keys) override;

 private:
  MonarchOrDenseLinear gated_layers_, wo_;
  nn::LayerNorm norm_;
  bool gated_;
  float dropout_;
  FeedForwardKernel kernel_;
};

// norm(output(act(intermediate(x))) + x). Source: Hugging Face's BertIntermediate and BertOutput.
class FeedForward : public ChannelMixer {
 public:
  explicit FeedForward(const Config& config);
  mx::array operator()(const mx::array& x, nn::Pass& pass) const override;
  void visit(nn::Visitor& v) override;
  void init(float initializer_range, nn::KeySequence& keys) override;

 private:
  nn::Linear intermediate_, output_;
  nn::LayerNorm norm_;
  std::string activation_;
  float dropout_;
  FeedForwardKernel kernel_;
};

// The activation of that name (Hugging Face's ACT2FN); the names that Config accepts.
mx::array activate(const std::string& name, const mx::array& x);

}  // namespace m2bert::models
