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

mx::array PackedMixerBlock::varlen(const mx::array&, const CuSeqlens&, const std::map<int, mx::array>&,
                                   const std::optional<FilterNetworks>&, mx::StreamOrDevice) const {
  fail("[mixer_block] this device's kernel takes only sequences of one length");
}

std::unique_ptr<PackedMixerBlock> pack_mixer_block(const MixerWeights& weights, bool residual, mx::StreamOrDevice s) {
  check(weights);
  return backend_for(s).pack_mixer_block(weights, residual, mx::to_stream(s));
}

}  // namespace m2bert::ops
