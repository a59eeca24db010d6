#include "m2bert/ops/packed_mixer_block.h"

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"

namespace m2bert::ops {

namespace {

// The vectors that go with the matrices; kernels read them by the matrices' sizes.
void check(const MixerWeights& w) {
  auto wants = [](const char* name, const std::optional<mx::array>& a, size_t size) {
    require(!a || a->size() == size, "[pack_mixer_block] ", name, " has ", a ? a->size() : 0, " values, wants ", size);
  };
  require(w.in_weight.values.ndim() == 2 && w.out_weight.values.ndim() == 2, "[pack_mixer_block] in_weight has shape ",
          w.in_weight.values.shape(), ", out_weight ", w.out_weight.values.shape(), ", want [3 H, H] and [H, H]");
  const size_t in = size_t(w.in_weight.values.shape(0)), out = size_t(w.out_weight.values.shape(0));
  wants("in_bias", w.in_bias, in);
  wants("the scale of in_weight", w.in_weight.scale, in);
  wants("short_bias", w.short_bias, in);
  wants("out_bias", w.out_bias, out);
  wants("the scale of out_weight", w.out_weight.scale, out);
}

}  // namespace

int PackedMixerBlock::filter_length(int tokens, int l_max) const { return varlen_filter_length(tokens, l_max); }

mx::array PackedMixerBlock::varlen(const mx::array&, const CuSeqlens&, const std::map<int, mx::array>&,
                                   const std::optional<FilterNetworks>&, mx::StreamOrDevice) const {
  fail("[mixer_block] this device's kernel takes only sequences of one length");
}

mx::array PackedMixerBlock::first(const mx::array&, const CuSeqlens&, const std::map<int, FirstRowFilters>&, mx::StreamOrDevice) const {
  fail("[mixer_block] this device's kernel has no form for the first row alone");
}

FirstRowFilters first_row_filters(const MixerFilters& f, mx::StreamOrDevice s) {
  check_filters("first_row_filters", f);
  const int L = f.k.shape(0), H = f.k.shape(1);
  auto rows = [&](const mx::array& k, const mx::array& D, const std::optional<mx::array>& k_rev) {
    auto wide = [&](const mx::array& a) { return mx::astype(a, mx::float32, s); };
    const auto first = mx::add(mx::slice(wide(k), {0, 0}, {1, H}, s), wide(D), s);
    if (!k_rev || L == 1) return first;
    return mx::concatenate({first, mx::slice(wide(*k_rev), {0, 0}, {L - 1, H}, s)}, 0, s);  // row d of k_rev is distance d + 1
  };
  FirstRowFilters first{rows(f.k, f.D, f.k_rev), std::nullopt};
  if (f.k2) first.k2 = rows(*f.k2, *f.D2, f.k2_rev);
  return first;
}

std::unique_ptr<PackedMixerBlock> pack_mixer_block(const MixerWeights& weights, bool residual, mx::StreamOrDevice s) {
  check(weights);
  return backend_for(s).pack_mixer_block(weights, residual, mx::to_stream(s));
}

}  // namespace m2bert::ops
