#pragma once
// The filter of the long convolution, computed by a small network from the position alone. Source: upstream's HyenaFilter.
#include <optional>
#include <vector>

#include "m2bert/nn/linear.h"
#include "m2bert/nn/module.h"
#include "m2bert/ops/filter_network.h"
#include "m2bert/ops/monarch_mix.h"

namespace m2bert::nn {

struct HyenaFilterOptions {
  int d_model = 0;
  int emb_dim = 5;  // odd: time, cosines, sines
  int order = 64;   // width of the network
  int l_max = 0;    // positions
  float w = 10;     // initial frequency of the sines
  float w_mod = 1;  // fixed factor of the frequency
  bool bidirectional = true;
  bool train_positions = true;  // false (hyena_lr_pos_emb 0): z is a buffer
};

// x * (exp(-t |deltas|) + shift): channels that decay along the sequence, each at its own rate. x [..., L, d], t [..., L, 1],
// deltas [..., 1, d]. Upstream's ExponentialModulation.
mx::array modulate(const mx::array& x, const mx::array& t, const mx::array& deltas, float shift = 0);

// k[t] = W6 sin(f (W4 sin(f (W2 sin(f (W0 z[t] + b0)) + b2)) + b4)) * exp(-t |deltas|), f = w_mod * freq, shared by all sines.
class HyenaFilter : public Module {
 public:
  explicit HyenaFilter(const HyenaFilterOptions& options);

  mx::array filter(int L) const;                     // [L, d] float32, weights of the current and earlier positions
  std::optional<mx::array> filter_rev(int L) const;  // [L, d], weights of later positions; absent when causal

  // The networks of these filters: of the filter, then of filter_rev if there is one.
  std::vector<ops::SineNetwork> networks(int L) const;

  // The same as networks whose last layer has not been applied. after: an array that is computed first, so that the layers of a model do
  // not all hold their features [L, order] at the same time.
  ops::FilterNetwork filter_network(int L, const std::optional<mx::array>& after = {}) const;
  std::optional<ops::FilterNetwork> filter_network_rev(int L, const std::optional<mx::array>& after = {}) const;
  mx::array times(int L) const;  // [L]

  void visit(Visitor& v) override;
  void init(KeySequence& keys);  // torch's defaults for the linear layers, N(0, 1) for bias, freq = w

  mx::array bias;                   // [d] D, the skip term of the convolution
  mx::array z, t;                   // [1, l_max, emb_dim], [1, l_max, 1]
  mx::array freq;                   // [1, order], shared by all sines of both networks
  std::vector<Linear> network;      // 0, 2, 4, 6 of implicit_filter
  std::vector<Linear> network_rev;  // of implicit_filter_rev; empty when causal
  mx::array deltas;                 // [1, 1, d]

 private:
  mx::array features(const std::vector<Linear>& net, int L, const std::optional<mx::array>& after = {}) const;
  ops::SineNetwork sine_network(const std::vector<Linear>& net, int L) const;
  mx::array positions(int L) const;
  mx::array frequencies() const;

  HyenaFilterOptions options_;
};

// The filters of a mixer for sequences of L positions: of the gated convolution, and of the residual convolution if there is one.
ops::MixerFilters mixer_filters(const HyenaFilter& filter, const std::optional<HyenaFilter>& residual, int L);
// The same beside a mixer of the input u, which is replaced: see ops::interleave.
ops::MixerFilters mixer_filters(const HyenaFilter& filter, const std::optional<HyenaFilter>& residual, int L, mx::array& u);
// The same as networks; after: see HyenaFilter::filter_network.
ops::FilterNetworks mixer_filter_networks(const HyenaFilter& filter, const std::optional<HyenaFilter>& residual, int L,
                                          const std::optional<mx::array>& after = std::nullopt);

}  // namespace m2bert::nn
