#include "m2bert/models/packed/monarch_mixer.h"

#include <functional>
#include <set>

#include "m2bert/ops/linear.h"
#include "m2bert/ops/long_conv.h"
#include "m2bert/ops/packed_linear.h"

namespace m2bert::models::packed {

namespace {

// The filters of L positions. With a packed GEMM their bits do not depend on the number of threads.
ops::MixerFilters time_domain(const ops::FilterNetworks& networks) {
  auto filter = [](const ops::FilterNetwork& n, const mx::array& times, const mx::array& deltas) {
    const auto packed = ops::pack_linear({{ops::Weight(n.weight), std::nullopt}});
    return ops::exponential_decay(packed ? (*packed)(n.features) : ops::linear(n.features, n.weight, std::nullopt), times, deltas);
  };
  ops::MixerFilters f{filter(networks.k, networks.times, networks.deltas), networks.D};
  if (networks.k_rev) f.k_rev = filter(*networks.k_rev, networks.times, networks.deltas);
  if (networks.k2) f.k2 = filter(*networks.k2, *networks.times2, *networks.deltas2), f.D2 = networks.D2;
  if (networks.k2_rev) f.k2_rev = filter(*networks.k2_rev, *networks.times2, *networks.deltas2);
  return f;
}

// The lengths of filters that the sequences need, the longest first.
template <typename FilterLength>
std::vector<int> lengths_of(const ops::CuSeqlens& cu_seqlens, FilterLength filter_length) {
  std::set<int, std::greater<>> lengths;
  for (int b = 0; b < cu_seqlens.sequences(); ++b) {
    if (const int tokens = cu_seqlens.length(b)) lengths.insert(filter_length(tokens));
  }
  return {lengths.begin(), lengths.end()};
}

std::vector<FilterKey> keys_of(const std::vector<int>& lengths, mx::Dtype dtype) {
  std::vector<FilterKey> keys;
  keys.reserve(lengths.size());
  for (const int L : lengths) keys.push_back({L, dtype});
  return keys;
}

}  // namespace

MonarchMixer::MonarchMixer(const ops::MixerWeights& weights, const nn::HyenaFilter& filter, const std::optional<nn::HyenaFilter>& residual,
                           size_t cache_bytes)
    : block_(ops::pack_mixer_block(weights, residual.has_value())),
      filter_(filter),
      residual_(residual),
      packed_filters_(cache_bytes),
      filters_(cache_bytes),
      first_filters_(cache_bytes) {}

mx::array MonarchMixer::operator()(const mx::array& u) {
  const int L = u.shape(1);
  packed_filters_.begin_batch({{L, u.dtype()}});
  if (const auto* filters = packed_filters(u, L)) return (*block_)(u, *filters);
  return (*block_)(u, nn::mixer_filter_networks(filter_, residual_, L, u));
}

// From the cache, to which they are added if they may be cached; else null.
const mx::array* MonarchMixer::packed_filters(const mx::array& u, int L) {
  const FilterKey key{L, u.dtype()};
  if (const auto* cached = packed_filters_.find(key)) return cached;
  const size_t bytes = block_->packed_filter_bytes(L, u.dtype());
  if (!packed_filters_.admits(key, bytes)) return nullptr;
  packed_filters_.make_room(bytes);
  auto filters = block_->pack_filters(nn::mixer_filter_networks(filter_, residual_, L), u.dtype());
  mx::eval(filters);
  return &packed_filters_.add(key, bytes, std::move(filters));
}

mx::array MonarchMixer::varlen(const mx::array& u, const ops::CuSeqlens& cu_seqlens) {
  const int l_max = filter_.z.shape(1);
  const auto lengths = lengths_of(cu_seqlens, [&](int tokens) { return block_->filter_length(tokens, l_max); });
  packed_filters_.begin_batch(keys_of(lengths, u.dtype()));
  std::map<int, mx::array> packed;
  std::optional<ops::FilterNetworks> networks;
  for (const int L : lengths) {
    if (networks && networks->times.shape(0) >= L) continue;
    if (const auto* filters = packed_filters(u, L)) {
      packed.emplace(L, *filters);
    } else {
      networks = nn::mixer_filter_networks(filter_, residual_, L, u);
    }
  }
  return block_->varlen(u, cu_seqlens, packed, networks);
}

// The filters of the first row are stored as a whole, so models for long sequences do without them.
bool MonarchMixer::is_fused_first() const {
  constexpr int kMaxLength = 8192;
  return block_ && block_->supports_first() && filter_.z.shape(1) <= kMaxLength;
}

mx::array MonarchMixer::first(const mx::array& u, const ops::CuSeqlens& cu_seqlens) {
  const auto lengths = lengths_of(cu_seqlens, [&](int tokens) { return ops::varlen_filter_length(tokens, filter_.z.shape(1)); });
  first_filters_.begin_batch(keys_of(lengths, mx::float32));
  std::map<int, ops::FirstRowFilters> filters;
  for (const int L : lengths) filters.emplace(L, first_filters(L));
  return block_->first(u, cu_seqlens, filters);
}

ops::FirstRowFilters MonarchMixer::first_filters(int L) {
  const FilterKey key{L, mx::float32};
  if (const auto* cached = first_filters_.find(key)) return *cached;
  auto f = ops::first_row_filters(time_domain(nn::mixer_filter_networks(filter_, residual_, L)));
  const size_t bytes = f.k.nbytes() + (f.k2 ? f.k2->nbytes() : 0);
  if (!first_filters_.admits(key, bytes)) return f;
  first_filters_.make_room(bytes);
  mx::eval(f.k);
  if (f.k2) mx::eval(*f.k2);
  return first_filters_.add(key, bytes, std::move(f));
}

ops::MixerFilters MonarchMixer::filters(int L) {
  const FilterKey key{L, mx::float32};
  filters_.begin_batch({key});
  if (const auto* cached = filters_.find(key)) return *cached;
  auto f = nn::mixer_filters(filter_, residual_, L);
  f.spectrum = ops::long_conv_spectrum(f.k, f.k_rev);
  if (f.k2) f.spectrum2 = ops::long_conv_spectrum(*f.k2, f.k2_rev);
  size_t bytes = 0;
  std::vector<mx::array> all;
  for (const auto* a : {&f.spectrum, &f.spectrum2}) {
    if (!*a) continue;
    all.push_back(**a);
    bytes += (*a)->nbytes();
  }
  if (!filters_.admits(key, bytes)) return f;
  filters_.make_room(bytes);
  mx::eval(all);
  // The fallback reads only the spectra, so the filters in the time domain are never evaluated.
  return filters_.add(key, bytes, std::move(f));
}

}  // namespace m2bert::models::packed
