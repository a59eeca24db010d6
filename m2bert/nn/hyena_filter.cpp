#include "m2bert/nn/hyena_filter.h"

#include <cmath>
#include <numbers>

#include "m2bert/error.h"
#include "m2bert/ops/interleave.h"
#include "m2bert/ops/linear.h"

namespace m2bert::nn {

namespace {

// [1, n, 1] from a to b in n steps.
mx::array linspace(double a, double b, int n) { return mx::linspace(a, b, n, mx::float32); }

// z = [t, cos(f w), -sin(f w)], w = 2 pi n / l_max, f = linspace(1e-4, bands - 1, bands). Computed in double on the host.
mx::array initial_positions(int l_max, int emb_dim) {
  const int bands = (emb_dim - 1) / 2;
  std::vector<float> z(size_t(l_max) * size_t(emb_dim));
  for (int n = 0; n < l_max; ++n) {
    float* row = &z[size_t(n) * size_t(emb_dim)];
    row[0] = l_max == 1 ? 0.0f : float(double(n) / (l_max - 1));
    for (int j = 0; j < bands; ++j) {
      const double f = bands == 1 ? 1e-4 : 1e-4 + (bands - 1 - 1e-4) * j / (bands - 1);
      const double angle = f * 2 * std::numbers::pi * n / l_max;
      row[1 + j] = float(std::cos(angle));
      row[1 + bands + j] = float(-std::sin(angle));
    }
  }
  return mx::array(z.data(), {1, l_max, emb_dim});
}

mx::array last_layer(const std::vector<Linear>& net) { return mx::astype(ops::dequantize_weight(net[3].matrix()), mx::float32); }

std::vector<Linear> make_network(const HyenaFilterOptions& o) {
  return {Linear(o.emb_dim, o.order), Linear(o.order, o.order), Linear(o.order, o.order), Linear(o.order, o.d_model, false)};
}

}  // namespace

mx::array modulate(const mx::array& x, const mx::array& t, const mx::array& deltas, float shift) {
  auto decay = mx::exp(-t * mx::abs(deltas));
  return x * (shift == 0 ? decay : decay + mx::array(shift, decay.dtype()));
}

HyenaFilter::HyenaFilter(const HyenaFilterOptions& o)
    : bias(mx::zeros({o.d_model})),
      z(initial_positions(o.l_max, o.emb_dim)),
      t(mx::reshape(linspace(0, 1, o.l_max), {1, o.l_max, 1})),
      freq(mx::full({1, o.order}, o.w)),
      network(make_network(o)),
      deltas(mx::reshape(linspace(std::log(0.01) / 1.5, std::log(0.01) / 0.3, o.d_model), {1, 1, o.d_model})),
      options_(o) {
  if (o.bidirectional) network_rev = make_network(o);
}

mx::array HyenaFilter::positions(int L) const {
  require(L >= 1 && L <= options_.l_max, "[HyenaFilter] the sequence has ", L, " positions, the filter supports at most ", options_.l_max,
          " (long_conv_l_max)");
  return mx::reshape(mx::slice(mx::astype(z, mx::float32), {0, 0, 0}, {1, L, z.shape(2)}), {L, z.shape(2)});
}

mx::array HyenaFilter::frequencies() const {
  const auto f = mx::reshape(mx::astype(freq, mx::float32), {-1});
  return options_.w_mod == 1 ? f : f * mx::array(options_.w_mod);  // the usual 1 costs no operation
}

// The input of the network's last layer, [L, order] float32.
mx::array HyenaFilter::features(const std::vector<Linear>& net, int L, const std::optional<mx::array>& after) const {
  auto h = positions(L);
  if (after) h = mx::depends({h}, {*after})[0];
  const auto f = frequencies();
  for (size_t i = 0; i < 3; ++i) h = ops::sine_linear(h, net[i].weight, *net[i].bias, f);
  return h;
}

std::vector<ops::SineNetwork> HyenaFilter::networks(int L) const {
  std::vector<ops::SineNetwork> all{sine_network(network, L)};
  if (!network_rev.empty()) all.push_back(sine_network(network_rev, L));
  return all;
}

ops::SineNetwork HyenaFilter::sine_network(const std::vector<Linear>& net, int L) const {
  auto layer = [&](size_t i) { return ops::SineNetwork::Layer{net[i].weight, *net[i].bias}; };
  return {positions(L), frequencies(), {layer(0), layer(1), layer(2)}, last_layer(net), times(L), mx::reshape(deltas, {-1})};
}

mx::array HyenaFilter::times(int L) const { return mx::slice(mx::reshape(mx::astype(t, mx::float32), {-1}), {0}, {L}); }

ops::FilterNetwork HyenaFilter::filter_network(int L, const std::optional<mx::array>& after) const {
  return {features(network, L, after), last_layer(network)};
}

std::optional<ops::FilterNetwork> HyenaFilter::filter_network_rev(int L, const std::optional<mx::array>& after) const {
  if (network_rev.empty()) return std::nullopt;
  return ops::FilterNetwork{features(network_rev, L, after), last_layer(network_rev)};
}

mx::array HyenaFilter::filter(int L) const { return ops::filters_of_networks({sine_network(network, L)})[0]; }

std::optional<mx::array> HyenaFilter::filter_rev(int L) const {
  if (network_rev.empty()) return std::nullopt;
  return ops::filters_of_networks({sine_network(network_rev, L)})[0];
}

void HyenaFilter::visit(Visitor& v) {
  v("bias", bias);
  if (options_.train_positions) {
    v("pos_emb.z", z);
  } else {
    v.buffer("pos_emb.z", z);
  }
  v.buffer("pos_emb.t", t);
  bool owns_freq = true;
  auto visit_network = [&](const std::string& name, std::vector<Linear>& net) {
    for (size_t i = 0; i < net.size(); ++i) {
      v(name + "." + std::to_string(2 * i), net[i]);
      if (i == 3) break;
      auto freq_name = name + "." + std::to_string(2 * i + 1) + ".freq";
      if (owns_freq) {
        v(freq_name, freq);
      } else {
        v.alias(freq_name, freq);
      }
      owns_freq = false;
    }
  };
  visit_network("implicit_filter", network);
  visit_network("implicit_filter_rev", network_rev);
  v.buffer("modulation.deltas", deltas);
}

void HyenaFilter::init(KeySequence& keys) {
  bias = normal(bias.shape(), 1, keys);
  freq = mx::full(freq.shape(), options_.w);
  for (auto* net : {&network, &network_rev}) {
    for (auto& layer : *net) layer.init_uniform(keys);
  }
}

namespace {

std::vector<ops::SineNetwork> networks_of(const HyenaFilter& filter, const std::optional<HyenaFilter>& residual, int L) {
  auto networks = filter.networks(L);
  if (residual) {
    for (auto& network : residual->networks(L)) networks.push_back(std::move(network));
  }
  return networks;
}

ops::MixerFilters filters_from(const std::vector<ops::SineNetwork>& networks, const HyenaFilter& filter,
                               const std::optional<HyenaFilter>& residual) {
  const bool bidirectional = networks.size() > (residual ? 2 : 1);
  const auto all = ops::filters_of_networks(networks);
  ops::MixerFilters f{all[0], filter.bias};
  if (bidirectional) f.k_rev = all[1];
  if (residual) f.k2 = all[bidirectional ? 2 : 1], f.D2 = residual->bias;
  if (residual && bidirectional) f.k2_rev = all[3];
  return f;
}

}  // namespace

ops::MixerFilters mixer_filters(const HyenaFilter& filter, const std::optional<HyenaFilter>& residual, int L) {
  return filters_from(networks_of(filter, residual, L), filter, residual);
}

// The gradients of positions and freq are the last ones of a network.
ops::MixerFilters mixer_filters(const HyenaFilter& filter, const std::optional<HyenaFilter>& residual, int L, mx::array& u) {
  auto networks = networks_of(filter, residual, L);
  std::vector<mx::array> side;
  for (const auto& n : networks) side.insert(side.end(), {n.positions, n.freq});
  const auto ordered = ops::interleave(u, side);
  u = ordered[0];
  for (size_t i = 0; auto& n : networks) n.positions = ordered[++i], n.freq = ordered[++i];
  return filters_from(networks, filter, residual);
}

ops::FilterNetworks mixer_filter_networks(const HyenaFilter& filter, const std::optional<HyenaFilter>& residual, int L,
                                          const std::optional<mx::array>& after) {
  auto flat = [](const mx::array& a) { return mx::reshape(a, {-1}); };
  ops::FilterNetworks f{filter.filter_network(L, after), filter.times(L), flat(filter.deltas), filter.bias,
                        filter.filter_network_rev(L, after)};
  if (residual) {
    f.k2 = residual->filter_network(L, after);
    f.k2_rev = residual->filter_network_rev(L, after);
    f.times2 = residual->times(L);
    f.deltas2 = flat(residual->deltas);
    f.D2 = residual->bias;
  }
  return f;
}

}  // namespace m2bert::nn
