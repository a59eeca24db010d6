#pragma once
// The sequence mixer of M2-BERT: a gated convolution whose filter is as long as the text.
// Source: MonarchMixerSequenceMixing of the reference; Fu et al. 2023, "Monarch Mixer".
#include <optional>

#include "m2bert/models/config.h"
#include "m2bert/models/sequence_mixer.h"
#include "m2bert/nn/hyena_filter.h"
#include "m2bert/nn/layer_norm.h"
#include "m2bert/nn/linear.h"
#include "m2bert/ops/packed_mixer_block.h"

namespace m2bert::models {

class MonarchSequenceMixer : public SequenceMixer {
 public:
  explicit MonarchSequenceMixer(const Config& config);
  mx::array operator()(const mx::array& u_bld, const EncoderContext& context, nn::Pass& pass) const override;
  void visit(nn::Visitor& v) override;
  void init(float initializer_range, nn::KeySequence& keys) override;

  nn::HyenaFilter filter_fn;
  std::optional<nn::HyenaFilter> filter_fn2;  // residual_long_conv
  nn::Linear in_linear, out_linear;           // H -> 3 H, H -> H
  std::optional<nn::LayerNorm> layernorm;     // hyena_training_additions
  mx::array short_filter_weight;              // [3 H, 1, 3]
  mx::array short_filter_bias;                // [3 H]

 private:
  mx::array long_conv(const char* name, const nn::HyenaFilter& filter, const mx::array& u_bld, nn::Pass& pass) const;
  ops::MixerFilters filters(int L) const;
  ops::FilterNetworks filter_networks(int L, const std::optional<mx::array>& after = {}) const;  // see HyenaFilter::filter_network
  std::vector<mx::array> filter_weights() const;
  std::vector<mx::array> projection_weights() const;
  bool traced(const mx::array& u) const;
  ops::PackedMixerBlock prepared() const;  // for the kernel of the whole mixer; null: it does not take this one
  mx::array run_prepared(const ops::PackedMixerBlock& mixer, const mx::array& u) const;

  size_t most_filter_bytes_;  // of a layer's filters, to be kept
  mutable nn::Kept<ops::PackedMixerBlock> mixer_;
  mutable nn::Kept<mx::array> filters_;
  mutable int last_length_ = 0;
};

}  // namespace m2bert::models
