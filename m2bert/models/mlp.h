#pragma once
// Channel mixers: the feed-forward part of a layer, with its residual and norm.
#include <memory>
#include <string>
#include <variant>

#include "m2bert/models/config.h"
#include "m2bert/models/sequence_mixer.h"
#include "m2bert/nn/blockdiag_linear.h"
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

  bool is_plain() const;  // no padding or shuffling: the layer is just a matrix and a bias
  ops::Weight matrix() const;
  const std::optional<mx::array>& bias() const;

 private:
  std::variant<nn::Linear, nn::BlockdiagLinear> linear_;
};

// norm(wo(gelu(gated_layers(x))) + x), or with use_glu_mlp norm(wo(gelu(g[:I]) * g[I:]) + x), g = gated_layers(x).
// Source: upstream's BertMLP and BertGatedLinearUnitMLP.
class Mlp : public ChannelMixer {
 public:
  explicit Mlp(const Config& config);
  mx::array operator()(const mx::array& x, nn::Pass& pass) const override;
  void visit(nn::Visitor& v) override;
  void init(float initializer_range, nn::KeySequence& keys) override;
  void pack(const PackOptions& options) override;
  void unpack() override { packed_.reset(); }

 private:
  bool has_plain_weights() const { return gated_layers_.is_plain() && wo_.is_plain(); }
  ops::FeedForwardWeights weights() const;

  MonarchOrDenseLinear gated_layers_, wo_;
  nn::LayerNorm norm_;
  bool gated_;
  float dropout_;
  std::unique_ptr<ops::PackedFeedForward> packed_;
};

// norm(output(act(intermediate(x))) + x). Source: Hugging Face's BertIntermediate and BertOutput.
class FeedForward : public ChannelMixer {
 public:
  explicit FeedForward(const Config& config);
  mx::array operator()(const mx::array& x, nn::Pass& pass) const override;
  void visit(nn::Visitor& v) override;
  void init(float initializer_range, nn::KeySequence& keys) override;
  void pack(const PackOptions& options) override;
  void unpack() override { packed_.reset(); }

 private:
  nn::Linear intermediate_, output_;
  nn::LayerNorm norm_;
  ops::Activation activation_;
  float dropout_;
  std::unique_ptr<ops::PackedFeedForward> packed_;
};

// The activation with this name in Hugging Face's ACT2FN. Throws Error for a name that Config rejects.
ops::Activation activation_named(const std::string& name);

}  // namespace m2bert::models
