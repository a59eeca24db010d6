#pragma once
// Filters made by networks, on the CPU.
#include <vector>

#include "m2bert/ops/filter_network.h"
#include "m2bert/ops/backend/cpu/simd/monarch_mix_simd.h"

namespace m2bert::ops::cpu {

// Differentiable once, exponential_decay in x alone.
mx::array sine_linear(const mx::array& x, const mx::array& weight, const mx::array& bias, const mx::array& freq, mx::Stream s);
mx::array exponential_decay(const mx::array& x, const mx::array& times, const mx::array& deltas, mx::Stream s);

// What pack_filters (mixer.h) makes of these filters in time.
mx::array pack_filters(const FilterNetworks& networks, mx::Dtype dtype, mx::Stream s);

// Throws Error, in the name of `op`, unless the parts fit together and to [L, H].
void check_networks(const char* op, const FilterNetworks& networks, int L, int H);

// Networks as inputs of a primitive, and back.
class NetworkInputs {
 public:
  explicit NetworkInputs(const FilterNetworks& networks);
  std::vector<mx::array> arrays(const FilterNetworks& networks, mx::Stream s) const;  // all float32
  HostFilterNetworks host(const std::vector<mx::array>& inputs, size_t first) const;  // from inputs[first] on
  bool operator==(const NetworkInputs&) const = default;

 private:
  bool reverse_, residual_;
};

}  // namespace m2bert::ops::cpu
