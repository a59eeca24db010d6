#include "m2bert/models/monarch_mixer.h"

#include <cmath>

#include "m2bert/ops/conv1d.h"
#include "m2bert/ops/long_conv.h"
#include "m2bert/ops/padding.h"

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

// Of a padded batch.
ops::CuSeqlens equal_sequences(int batch, int length) {
  std::vector<int> offsets;
  for (int b = 0; b <= batch; ++b) offsets.push_back(b * length);
  return {std::move(offsets)};
}

}  // namespace

MonarchSequenceMixer::MonarchSequenceMixer(const Config& c)
    : filter_fn(filter_options(c)),
      in_linear(c.hidden_size, 3 * c.hidden_size),
      out_linear(c.hidden_size, c.hidden_size),
      short_filter_weight(mx::zeros({3 * c.hidden_size, 1, 3})),
      short_filter_bias(mx::zeros({3 * c.hidden_size})) {
  if (c.residual_long_conv) filter_fn2.emplace(filter_options(c));
  if (c.hyena_training_additions) layernorm.emplace(c.hidden_size, 1e-5f);  // torch's default eps, not layer_norm_eps
}

// Mixes along the sequence in O(L log L): projection, short convolution, gates around a long convolution, projection. As in upstream, there
// is no residual or norm around it. Three forms of the same mathematics: packed weights, ops::mixer_block, and step by step with hooks.
mx::array MonarchSequenceMixer::operator()(const mx::array& input_bld, const EncoderContext& context, nn::Pass& pass) const {
  auto u = layernorm ? pass.hook("u_norm", (*layernorm)(input_bld)) : input_bld;
  if (context.unpadding) return mix_rows(u, context, pass);
  if (packed_ && packed_->is_fused() && pass.allows_packed()) return (*packed_)(u);
  if (!pass.has_hook()) {
    const auto k = filters_beside(u, u.shape(1), pass);
    return ops::mixer_block(u, weights(), k);
  }
  const auto projected = pass.hook("in_linear", in_linear(u));
  return out_linear(pass.hook("pre_out", mix_stepwise(projected, u, [](const mx::array& x) { return x; }, pass)));
}

// With packed weights the first row needs no transform, and of the projections of other rows only x1 and v. Otherwise nothing is saved up
// to the second projection, because the convolution is one transform.
mx::array MonarchSequenceMixer::first(const mx::array& input, const EncoderContext& context, nn::Pass& pass) const {
  const bool packed = packed_ && packed_->is_fused() && pass.allows_packed();
  const bool all = context.unpadding && (!context.unpadding->contiguous || context.unpadding->aligned);
  if (all || (packed && !packed_->is_fused_first())) return SequenceMixer::first(input, context, pass);
  const auto u = layernorm ? (*layernorm)(input) : input;
  if (packed && context.unpadding) return packed_->first(u, context.unpadding->cu_seqlens);
  if (packed) return packed_->first(mx::flatten(u, 0, 1), equal_sequences(context.batch, context.seqlen));
  return out_linear(first_rows(mix(in_linear(u), u, context, pass), context));
}

// Between the projections, for sequences without holes.
mx::array MonarchSequenceMixer::mix(const mx::array& projected, const mx::array& u, const EncoderContext& context, nn::Pass& pass) const {
  if (!context.unpadding) return ops::monarch_mix(projected, u, short_filter_weight, short_filter_bias, filters(u.shape(1), pass));
  const int L = varlen_filter_length(context.unpadding->max_seqlen);
  return ops::monarch_mix_varlen(projected, u, context.unpadding->cu_seqlens, short_filter_weight, short_filter_bias, filters(L, pass));
}

// mask_padding: u is the rows of the tokens. The convolutions read 0 at the padding, and nothing is computed for it.
mx::array MonarchSequenceMixer::mix_rows(const mx::array& u, const EncoderContext& context, nn::Pass& pass) const {
  if (u.size() == 0) return u;
  const auto& unpadding = *context.unpadding;
  const bool stepwise = pass.has_hook() || !unpadding.contiguous;  // with holes between the tokens, rows do not show the distances
  if (!stepwise) {
    std::optional<ops::CuSeqlens> tight;
    const auto& sequences = unpadding.aligned ? unpadding.aligned->sequences : tight.emplace(unpadding.cu_seqlens);
    if (packed_ && packed_->is_fused_varlen() && pass.allows_packed()) return packed_->varlen(u, sequences);
    auto rows = u;
    const auto k = filters_beside(rows, varlen_filter_length(unpadding.max_seqlen), pass);
    return ops::mixer_block_varlen(rows, sequences, weights(), k);
  }
  const auto projected = pass.hook("in_linear", in_linear(u));
  auto pad = [&](const mx::array& rows) { return ops::pad_input(rows, unpadding, context.batch, context.seqlen); };
  auto masked = [&](const mx::array& x) { return pad(ops::unpad_input(x, unpadding)); };  // 0 at the padding
  const auto y = mix_stepwise(pad(projected), pad(u), masked, pass);
  return out_linear(pass.hook("pre_out", ops::unpad_input(y, unpadding)));
}

int MonarchSequenceMixer::row_alignment(int seqlen, mx::Dtype dtype, const nn::Pass& pass) const {
  if (pass.has_hook()) return 1;
  if (packed_ && pass.allows_packed()) return packed_->row_alignment();
  return ops::mixer_row_alignment(weights(), varlen_filter_length(seqlen), dtype);
}

int MonarchSequenceMixer::varlen_filter_length(int longest) const { return ops::varlen_filter_length(longest, filter_fn.z.shape(1)); }

// Between the projections. masked: what the gated long convolution reads of its input.
mx::array MonarchSequenceMixer::mix_stepwise(const mx::array& projected, const mx::array& u,
                                             const std::function<mx::array(const mx::array&)>& masked, nn::Pass& pass) const {
  const auto local = pass.hook("short_conv", ops::depthwise_conv1d_causal(projected, short_filter_weight, short_filter_bias));
  const auto parts = mx::split(local, 3, 2);
  const auto &x1 = parts[0], &x2 = parts[1], &v = parts[2];
  const auto y = x2 * pass.hook("long_conv", long_conv("k", filter_fn, masked(v * x1), pass));
  return filter_fn2 ? y + pass.hook("residual_conv", long_conv("k2", *filter_fn2, u, pass)) : y;
}

mx::array MonarchSequenceMixer::long_conv(const char* name, const nn::HyenaFilter& filter, const mx::array& u_bld, nn::Pass& pass) const {
  const int L = u_bld.shape(1);
  const auto k = pass.hook(name, filter.filter(L));
  auto k_rev = filter.filter_rev(L);
  if (k_rev) k_rev = pass.hook(std::string(name) + "_rev", *k_rev);
  return ops::long_conv_with_spectrum(u_bld, ops::long_conv_spectrum(k, k_rev), filter.bias);
}

ops::MixerFilters MonarchSequenceMixer::filters(int L, const nn::Pass& pass) const {
  return packed_ && pass.allows_packed() ? packed_->filters(L) : nn::mixer_filters(filter_fn, filter_fn2, L);
}

ops::MixerFilters MonarchSequenceMixer::filters_beside(mx::array& u, int L, const nn::Pass& pass) const {
  return packed_ ? filters(L, pass) : nn::mixer_filters(filter_fn, filter_fn2, L, u);
}

ops::MixerWeights MonarchSequenceMixer::weights() const {
  return {in_linear.matrix(), in_linear.bias, short_filter_weight, short_filter_bias, out_linear.matrix(), out_linear.bias};
}

void MonarchSequenceMixer::pack(const PackOptions& options) {
  packed_ = std::make_unique<packed::MonarchMixer>(weights(), filter_fn, filter_fn2, options.filter_cache_bytes);
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
  const float bound = 1 / std::sqrt(3.0f);  // torch's default for 3 taps on one channel
  short_filter_weight = nn::uniform(short_filter_weight.shape(), bound, keys);
  short_filter_bias = nn::uniform(short_filter_bias.shape(), bound, keys);
}

}  // namespace m2bert::models
