#include "m2bert/ops/packed_mixer_block.h"

#include "m2bert/error.h"
#include "m2bert/ops/backend/cpu/filter_network_primitive.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/backend/cpu/monarch_mix_primitive.h"
#include "m2bert/ops/backend/cpu/packed_mixer_block_primitive.h"

namespace m2bert::ops {

PackedMixerBlock pack_mixer_block(const MixerWeights& weights, bool residual, mx::StreamOrDevice s) {
  return cpu::cpu_kernels(s) ? cpu::pack_mixer_block(weights, residual, cpu::stream_of(s)) : nullptr;
}

mx::array pack_filters(const MixerFilters& filters, mx::Dtype dtype, mx::StreamOrDevice s) {
  check_filters("pack_filters", filters);
  return cpu::pack_filters(filters, dtype, cpu::stream_of(s));
}

mx::array pack_filters(const FilterNetworks& networks, mx::Dtype dtype, mx::StreamOrDevice s) {
  require(networks.times.ndim() == 1 && networks.deltas.ndim() == 1, "[pack_filters] times has shape ", networks.times.shape(),
          ", deltas ", networks.deltas.shape(), ", want [L] and [H]");
  cpu::check_networks("pack_filters", networks, networks.times.shape(0), networks.deltas.shape(0));
  return cpu::pack_filters(networks, dtype, cpu::stream_of(s));
}

size_t packed_filter_bytes(int L, int H, mx::Dtype dtype) { return cpu::packed_filter_bytes(L, H, dtype); }

mx::array mixer_block(const mx::array& u, const PackedMixerBlock& prepared, const mx::array& filters, mx::StreamOrDevice s) {
  return cpu::mixer_block(u, prepared, filters, cpu::stream_of(s));
}

mx::array mixer_block(const mx::array& u, const PackedMixerBlock& prepared, const FilterNetworks& filters, mx::StreamOrDevice s) {
  return cpu::mixer_block(u, prepared, filters, cpu::stream_of(s));
}

}  // namespace m2bert::ops
