#pragma once
// Long-convolution filters that a small network computes from the position alone. Source: upstream's HyenaFilter.
#include <array>
#include <optional>
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::ops {

// sin(freq * (x weight^T + bias)), a layer of the network: x [L, in], weight [out, in], bias [out], freq [out]; the result is [L, out].
// float32; other dtypes are cast to it. Throws Error on wrong shapes.
mx::array sine_linear(const mx::array& x, const mx::array& weight, const mx::array& bias, const mx::array& freq, mx::StreamOrDevice s = {});
mx::array sine_linear_fallback(const mx::array& x, const mx::array& weight, const mx::array& bias, const mx::array& freq,
                               mx::StreamOrDevice s = {});

// x * exp(-times |deltas|): channels that decay along the sequence, each at its own rate. x [L, H], times [L], deltas [H]; float32, other
// dtypes are cast to it. Throws Error on wrong shapes.
mx::array exponential_decay(const mx::array& x, const mx::array& times, const mx::array& deltas, mx::StreamOrDevice s = {});
mx::array exponential_decay_fallback(const mx::array& x, const mx::array& times, const mx::array& deltas, mx::StreamOrDevice s = {});

// A network that computes a filter [L, H] from positions: three layers of sine_linear, a linear one, exponential_decay.
struct SineNetwork {
  struct Layer {
    mx::array weight, bias;  // [out, in], [out]
  };
  mx::array positions, freq;    // [L, in], [order]
  std::array<Layer, 3> layers;  // the first takes positions, each has `order` outputs
  mx::array last;               // [H, order]
  mx::array times, deltas;      // [L], [H]
};

// The filter of each network, float32. Gradients for every array; times and deltas are constants in most models. Throws Error on wrong
// shapes. Several networks of equal sizes take as many launches as one where the device has a kernel.
std::vector<mx::array> filters_of_networks(const std::vector<SineNetwork>& networks, mx::StreamOrDevice s = {});

// A filter given as the last layer of its network: k[t] = (features[t] weight^T) * exp(-times[t] |deltas|), k [L, H].
struct FilterNetwork {
  mx::array features;  // [L, order]
  mx::array weight;    // [H, order]
};

// The filters of a mixer in this form.
struct FilterNetworks {
  FilterNetwork k;
  mx::array times, deltas, D;            // [L], [H], [H]
  std::optional<FilterNetwork> k_rev{};  // both directions, or neither
  std::optional<FilterNetwork> k2{}, k2_rev{};
  std::optional<mx::array> times2{}, deltas2{}, D2{};
};

// Throws Error, naming `op`, unless the parts are consistent with each other and with filters [L, H].
void check_filter_networks(const char* op, const FilterNetworks& networks, int L, int H);

}  // namespace m2bert::ops
