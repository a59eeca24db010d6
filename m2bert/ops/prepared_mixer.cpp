#include "m2bert/ops/prepared_mixer.h"

#include "m2bert/error.h"
#include "m2bert/ops/kernels/filter_network.h"
#include "m2bert/ops/kernels/kernel.h"
#include "m2bert/ops/kernels/mixer.h"
#include "m2bert/ops/kernels/monarch_mixer_cpu.h"

namespace m2bert::ops {

PreparedMixer prepare_mixer(const MixerWeights& weights, bool residual, mx::StreamOrDevice s) {
  return kernels::cpu_kernels(s) ? kernels::prepare_mixer(weights, residual, kernels::stream_of(s)) : nullptr;
}

mx::array prepare_filters(const MixerFilters& filters, mx::Dtype dtype, mx::StreamOrDevice s) {
  check_filters("prepare_filters", filters);
  return kernels::prepare_filters(filters, dtype, kernels::stream_of(s));
}

mx::array prepare_filters(const FilterNetworks& networks, mx::Dtype dtype, mx::StreamOrDevice s) {
  require(networks.times.ndim() == 1 && networks.deltas.ndim() == 1, "[prepare_filters] times has shape ", networks.times.shape(),
          ", deltas ", networks.deltas.shape(), ", want [L] and [H]");
  kernels::check_networks("prepare_filters", networks, networks.times.shape(0), networks.deltas.shape(0));
  return kernels::prepare_filters(networks, dtype, kernels::stream_of(s));
}

size_t prepared_filter_bytes(int L, int H, mx::Dtype dtype) { return kernels::prepared_filter_bytes(L, H, dtype); }

mx::array monarch_mixer(const mx::array& u, const PreparedMixer& prepared, const mx::array& filters, mx::StreamOrDevice s) {
  return kernels::monarch_mixer(u, prepared, filters, kernels::stream_of(s));
}

mx::array monarch_mixer(const mx::array& u, const PreparedMixer& prepared, const FilterNetworks& filters, mx::StreamOrDevice s) {
  return kernels::monarch_mixer(u, prepared, filters, kernels::stream_of(s));
}

}  // namespace m2bert::ops
