#include "m2bert/models/monarch_mixer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "m2bert/memory.h"
#include "m2bert/ops/conv1d.h"
#include "m2bert/ops/long_conv.h"

namespace m2bert::models {

namespace {

nn::HyenaFilterOptions filter_options(const Config& c) {
  nn::HyenaFilterOptions o;
  o.d_model = c.hidden_size;
  o.emb_dim = *c.hyena_emb_dim;
  o.order = c.hyena_filter_order;
  o.l_max = *c.long_conv_l_max;
  o.w = float(*c.hyena_w);
  o.w_mod = float(c.hyena_w_mod);
  o.bidirectional = c.bidirectional;
  o.train_positions = *c.hyena_lr_pos_emb != 0;
  return o;
}

}  // namespace

MonarchSequenceMixer::MonarchSequenceMixer(const Config& c)
    : filter_fn(filter_options(c)),
      in_linear(c.hidden_size, 3 * c.hidden_size),
      out_linear(c.hidden_size, c.hidden_size),
      short_filter_weight(mx::zeros({3 * c.hidden_size, 1, 3})),
      short_filter_bias(mx::zeros({3 * c.hidden_size})),
      most_filter_bytes_(physical_memory() / 4 / size_t(std::max(1, c.num_hidden_layers))) {
  if (c.residual_long_conv) filter_fn2.emplace(filter_options(c));
  if (c.hyena_training_additions) layernorm.emplace(c.hidden_size, 1e-5f);  // torch's default eps, not layer_norm_eps
}

// Mix along the text in O(L log L). No residual and no norm around it, as in the reference.
mx::array MonarchSequenceMixer::operator()(const mx::array& input_bld, const EncoderContext&, nn::Pass& pass) const {
  auto u = layernorm ? pass.stage("u_norm", (*layernorm)(input_bld)) : input_bld;
  const bool training = traced(u);
  if (!pass.shows_inner_stages() && !training) {
    if (const auto mixer = prepared()) return run_prepared(mixer, u);
  }
  auto projected = pass.stage("in_linear", in_linear(u));
  if (!pass.shows_inner_stages() && training) {
    return out_linear(ops::monarch_mix(projected, u, short_filter_weight, short_filter_bias, filters(u.shape(1))));
  }
  auto local = pass.stage("short_conv", ops::depthwise_conv1d_causal(projected, short_filter_weight, short_filter_bias));
  auto parts = mx::split(local, 3, 2);
  const auto &x1 = parts[0], &x2 = parts[1], &v = parts[2];
  auto y = x2 * pass.stage("long_conv", long_conv("k", filter_fn, v * x1, pass));
  if (filter_fn2) y = y + pass.stage("residual_conv", long_conv("k2", *filter_fn2, u, pass));
  return out_linear(pass.stage("pre_out", y));
}

mx::array MonarchSequenceMixer::long_conv(const char* name, const nn::HyenaFilter& filter, const mx::array& u_bld, nn::Pass& pass) const {
  const int L = u_bld.shape(1);
  if (pass.shows_inner_stages()) {  // shows the filters themselves; never taken on the fast way
    pass.stage(name, filter.filter(L));
    if (auto reverse = filter.filter_rev(L)) pass.stage(std::string(name) + "_rev", *reverse);
  }
  return ops::long_conv_with_spectrum(u_bld, filter.spectrum(L), filter.bias);
}

std::vector<mx::array> MonarchSequenceMixer::filter_weights() const {
  auto all = filter_fn.weights();
  all.push_back(filter_fn.bias);
  if (filter_fn2) {
    for (auto& w : filter_fn2->weights()) all.push_back(w);
    all.push_back(filter_fn2->bias);
  }
  return all;
}

ops::MixerFilters MonarchSequenceMixer::filters(int L) const {
  ops::MixerFilters filters{filter_fn.filter(L), filter_fn.bias, filter_fn.filter_rev(L), {}, {}, {}};
  if (filter_fn2) {
    filters.k2 = filter_fn2->filter(L);
    filters.D2 = filter_fn2->bias;
    filters.k2_rev = filter_fn2->filter_rev(L);
  }
  return filters;
}

ops::FilterNetworks MonarchSequenceMixer::filter_networks(int L, const std::optional<mx::array>& after) const {
  auto flat = [](const mx::array& a) { return mx::reshape(a, {-1}); };
  ops::FilterNetworks f{filter_fn.filter_network(L, after), filter_fn.times(L), flat(filter_fn.deltas), filter_fn.bias,
                        filter_fn.filter_network_rev(L, after)};
  if (filter_fn2) {
    f.k2 = filter_fn2->filter_network(L, after);
    f.k2_rev = filter_fn2->filter_network_rev(L, after);
    f.times2 = filter_fn2->times(L);
    f.deltas2 = flat(filter_fn2->deltas);
    f.D2 = filter_fn2->bias;
  }
  return f;
}

std::vector<mx::array> MonarchSequenceMixer::projection_weights() const {
  std::vector<mx::array> all{in_linear.weight, out_linear.weight, short_filter_weight, short_filter_bias};
  for (const auto* a : {&in_linear.bias, &in_linear.weight_scale, &out_linear.bias, &out_linear.weight_scale}) {
    if (*a) all.push_back(**a);
  }
  return all;
}

bool MonarchSequenceMixer::traced(const mx::array& u) const {
  return u.is_tracer() || nn::any_traced(projection_weights()) || nn::any_traced(filter_weights());
}

ops::PackedMixerBlock MonarchSequenceMixer::prepared() const {
  return mixer_.get(0, projection_weights(), [&] {
    const ops::MixerWeights weights{in_linear.matrix(), in_linear.bias,      short_filter_weight,
                                    short_filter_bias,  out_linear.matrix(), out_linear.bias};
    return ops::pack_mixer_block(weights, filter_fn2.has_value());
  });
}

// Small filters are kept. Large ones pay only from the second batch of a length on: one long text does without the memory for them.
mx::array MonarchSequenceMixer::run_prepared(const ops::PackedMixerBlock& mixer, const mx::array& u) const {
  constexpr size_t kAlwaysKept = size_t(16) << 20;  // bytes
  const int L = u.shape(1);
  const size_t bytes = ops::packed_filter_bytes(L, u.shape(2), u.dtype());
  const int key = u.dtype() == mx::float32 ? L : -L;  // a cast of the projections leaves the filters' weights as they are
  const bool again = std::exchange(last_length_, L) == L || filters_.holds(key, filter_weights());
  if (bytes > most_filter_bytes_ || (bytes > kAlwaysKept && !again)) return ops::mixer_block(u, mixer, filter_networks(L, u));
  const auto filters = filters_.get(
      key, filter_weights(),
      [&] {
        auto made = ops::pack_filters(filter_networks(L), u.dtype());
        mx::eval(made);
        return made;
      },
      bytes, kAlwaysKept);
  return ops::mixer_block(u, mixer, filters);
}

void MonarchSequenceMixer::visit(nn::Visitor& v) {
  v("filter_fn", filter_fn);
  v("filter_fn2", filter_fn2);
  v("in_linear", in_linear);
  v("out_linear", out_linear);
  v("layernorm", layernorm);
  v("short_filter.weight", short_filter_weight);
  v("short_filter.bias", short_filter_bias);
}

void MonarchSequenceMixer::init(float initializer_range, nn::KeySequence& keys) {
  filter_fn.init(keys);
  if (filter_fn2) filter_fn2->init(keys);
  in_linear.init_normal(initializer_range, keys);
  out_linear.init_normal(initializer_range, keys);
  const float bound = 1 / std::sqrt(3.0f);  // torch's default for a kernel of 3 on one channel
  short_filter_weight = nn::uniform(short_filter_weight.shape(), bound, keys);
  short_filter_bias = nn::uniform(short_filter_bias.shape(), bound, keys);
}

}  // namespace m2bert::models
