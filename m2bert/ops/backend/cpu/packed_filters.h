#pragma once
// Filters of the Monarch Mixer packed for its kernels: in the frequency domain, as float32 for float32 sequences, and as uint32 (a complex
// number as a pair of bfloat16) for bfloat16 sequences. See simd/monarch_mix_simd.h.
#include <optional>
#include <vector>

#include "m2bert/mx.h"
#include "m2bert/ops/backend/cpu/named_inputs.h"
#include "m2bert/ops/backend/cpu/simd/monarch_mix_simd.h"
#include "m2bert/ops/filter_network.h"
#include "m2bert/ops/monarch_mix.h"

namespace m2bert::ops::cpu {

// Dtype and size of the packed filters for sequences of `dtype`.
mx::Dtype packed_filter_dtype(mx::Dtype dtype);
size_t packed_filter_bytes(int L, int H, mx::Dtype dtype);

mx::array pack_filters(const MixerFilters& filters, mx::Dtype dtype, mx::Stream s);
mx::array pack_filters(const FilterNetworks& networks, mx::Dtype dtype, mx::Stream s);

// Filter networks as inputs of a primitive, all float32. The reverse and the residual networks are optional.
enum class NetworkInput {
  times,
  deltas,
  D,
  features,
  weight,
  rev_features,
  rev_weight,
  times2,
  deltas2,
  D2,
  features2,
  weight2,
  rev_features2,
  rev_weight2,
};
void add_networks(NamedInputs<NetworkInput>& inputs, const FilterNetworks& networks, mx::Stream s);
HostFilterNetworks host_networks(const Positions<NetworkInput>& positions, const std::vector<mx::array>& arrays);

}  // namespace m2bert::ops::cpu
