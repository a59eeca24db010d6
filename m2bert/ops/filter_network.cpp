#include "m2bert/ops/filter_network.h"

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"
#include "m2bert/ops/linear.h"

namespace m2bert::ops {

namespace {

void check(const mx::array& x, const mx::array& weight, const mx::array& bias, const mx::array& freq) {
  require(x.ndim() == 2 && weight.ndim() == 2 && weight.shape(1) == x.shape(1), "[sine_linear] x has shape ", x.shape(), ", weight ",
          weight.shape(), ", want [L, in] and [out, in]");
  const mx::Shape columns{weight.shape(0)};
  require(bias.shape() == columns && freq.shape() == columns, "[sine_linear] bias has shape ", bias.shape(), ", freq ", freq.shape(),
          ", want ", columns);
}

void check_decay(const mx::array& x, const mx::array& times, const mx::array& deltas) {
  require(x.ndim() == 2 && times.shape() == mx::Shape{x.shape(0)} && deltas.shape() == mx::Shape{x.shape(1)},
          "[exponential_decay] x has shape ", x.shape(), ", times ", times.shape(), ", deltas ", deltas.shape(),
          ", want [L, H], [L] and [H]");
}

mx::array as_float32(const mx::array& x, mx::StreamOrDevice s) { return mx::astype(x, mx::float32, s); }

}  // namespace

mx::array sine_linear_fallback(const mx::array& x, const mx::array& weight, const mx::array& bias, const mx::array& freq,
                               mx::StreamOrDevice s) {
  check(x, weight, bias, freq);
  return mx::sin(mx::multiply(as_float32(freq, s), linear_fallback(as_float32(x, s), as_float32(weight, s), as_float32(bias, s), s), s), s);
}

mx::array sine_linear(const mx::array& x, const mx::array& weight, const mx::array& bias, const mx::array& freq, mx::StreamOrDevice s) {
  check(x, weight, bias, freq);
  if (auto y = backend_for(s).sine_linear(x, weight, bias, freq, mx::to_stream(s))) return *y;
  return sine_linear_fallback(x, weight, bias, freq, s);
}

mx::array exponential_decay_fallback(const mx::array& x, const mx::array& times, const mx::array& deltas, mx::StreamOrDevice s) {
  check_decay(x, times, deltas);
  auto t = mx::reshape(as_float32(times, s), {-1, 1}, s);
  return mx::multiply(as_float32(x, s), mx::exp(mx::negative(mx::multiply(t, mx::abs(as_float32(deltas, s), s), s), s), s), s);
}

mx::array exponential_decay(const mx::array& x, const mx::array& times, const mx::array& deltas, mx::StreamOrDevice s) {
  check_decay(x, times, deltas);
  if (auto y = backend_for(s).exponential_decay(x, times, deltas, mx::to_stream(s))) return *y;
  return exponential_decay_fallback(x, times, deltas, s);
}

namespace {
mx::array filter_of(const SineNetwork& n, mx::StreamOrDevice s) {
  auto h = as_float32(n.positions, s);
  for (const auto& layer : n.layers) h = sine_linear(h, layer.weight, layer.bias, n.freq, s);
  return exponential_decay(linear(h, as_float32(n.last, s), std::nullopt, s), n.times, n.deltas, s);
}

void check(const SineNetwork& n) {
  require(n.positions.ndim() == 2 && n.last.ndim() == 2, "[filters_of_networks] positions have shape ", n.positions.shape(), ", last ",
          n.last.shape(), ", want [L, in] and [H, order]");
  int in = n.positions.shape(1);
  for (const auto& layer : n.layers) {
    require(layer.weight.ndim() == 2 && layer.weight.shape(1) == in && layer.bias.shape() == mx::Shape{layer.weight.shape(0)} &&
                n.freq.shape() == layer.bias.shape(),
            "[filters_of_networks] a layer has weight ", layer.weight.shape(), ", bias ", layer.bias.shape(), ", freq ", n.freq.shape(),
            " and ", in, " inputs");
    in = layer.weight.shape(0);
  }
  require(n.last.shape(1) == in && n.times.shape() == mx::Shape{n.positions.shape(0)} && n.deltas.shape() == mx::Shape{n.last.shape(0)},
          "[filters_of_networks] last has shape ", n.last.shape(), ", times ", n.times.shape(), ", deltas ", n.deltas.shape());
}
}  // namespace

std::vector<mx::array> filters_of_networks(const std::vector<SineNetwork>& networks, mx::StreamOrDevice s) {
  for (const auto& n : networks) check(n);
  if (auto filters = backend_for(s).filters_of_networks(networks, mx::to_stream(s))) return *filters;
  std::vector<mx::array> filters;
  for (const auto& n : networks) filters.push_back(filter_of(n, s));
  return filters;
}

void check_filter_networks(const char* op, const FilterNetworks& f, int L, int H) {
  const int order = f.k.features.ndim() == 2 ? f.k.features.shape(1) : 0;
  auto wants = [&](const char* name, const mx::array& x, const mx::Shape& shape) {
    require(x.shape() == shape, "[", op, "] ", name, " of the filters has shape ", x.shape(), ", wants ", shape);
  };
  auto network = [&](const FilterNetwork& n) {
    wants("features", n.features, {L, order});
    wants("weight", n.weight, {H, order});
  };
  network(f.k);
  for (const auto* n : {&f.k_rev, &f.k2, &f.k2_rev}) {
    if (*n) network(**n);
  }
  wants("times", f.times, {L});
  wants("deltas", f.deltas, {H});
  wants("D", f.D, {H});
  auto with_k2 = [&](const auto& part) { return part.has_value() == f.k2.has_value(); };
  const bool whole = with_k2(f.times2) && with_k2(f.deltas2) && with_k2(f.D2) && f.k2_rev.has_value() == (f.k2 && f.k_rev);
  require(whole, "[", op, "] parts of a filter are missing");
  if (f.times2) wants("times2", *f.times2, {L});
  if (f.deltas2) wants("deltas2", *f.deltas2, {H});
  if (f.D2) wants("D2", *f.D2, {H});
}

}  // namespace m2bert::ops
