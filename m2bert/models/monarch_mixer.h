#pragma once
// The sequence mixer of M2-BERT: a gated convolution whose filter is as long as the sequence.
// Source: upstream's MonarchMixerSequenceMixing; Fu et al. 2023, "Monarch Mixer".
#include <functional>
#include <memory>
#include <optional>

#include "m2bert/models/config.h"
#include "m2bert/models/packed/monarch_mixer.h"
#include "m2bert/models/sequence_mixer.h"
#include "m2bert/nn/hyena_filter.h"
#include "m2bert/nn/layer_norm.h"
#include "m2bert/nn/linear.h"
#include "m2bert/ops/mixer_block.h"

namespace m2bert::models {

class MonarchSequenceMixer : public SequenceMixer {
 public:
  explicit MonarchSequenceMixer(const Config& config);
  mx::array operator()(const mx::array& u_bld, const EncoderContext& context, nn::Pass& pass) const override;
  mx::array first(const mx::array& u, const EncoderContext& context, nn::Pass& pass) const override;
  int row_alignment(int seqlen, mx::Dtype dtype, const nn::Pass& pass) const override;
  void visit(nn::Visitor& v) override;
  void init(float initializer_range, nn::KeySequence& keys) override;
  void pack(const PackOptions& options) override;
  void unpack() override { packed_.reset(); }

  nn::HyenaFilter filter_fn;
  std::optional<nn::HyenaFilter> filter_fn2;  // residual_long_conv
  nn::Linear in_linear, out_linear;           // H -> 3 H, H -> H
  std::optional<nn::LayerNorm> layernorm;     // hyena_training_additions
  mx::array short_filter_weight;              // [3 H, 1, 3]
  mx::array short_filter_bias;                // [3 H]

 private:
  mx::array mix(const mx::array& projected, const mx::array& u, const EncoderContext& context, nn::Pass& pass) const;
  mx::array mix_rows(const mx::array& u, const EncoderContext& context, nn::Pass& pass) const;
  int varlen_filter_length(int longest) const;
  mx::array mix_stepwise(const mx::array& projected, const mx::array& u, const std::function<mx::array(const mx::array&)>& masked,
                         nn::Pass& pass) const;
  mx::array long_conv(const char* name, const nn::HyenaFilter& filter, const mx::array& u_bld, nn::Pass& pass) const;
  ops::MixerFilters filters(int L, const nn::Pass& pass) const;
  // The same for ops::mixer_block of u, which they replace where they are computed beside it (nn::mixer_filters).
  ops::MixerFilters filters_beside(mx::array& u, int L, const nn::Pass& pass) const;
  ops::MixerWeights weights() const;

  std::unique_ptr<packed::MonarchMixer> packed_;
};

}  // namespace m2bert::models
