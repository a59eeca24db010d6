#include "m2bert/ops/attention.h"

#include "bench/ops/registry.h"

namespace m2bert::bench {
namespace {

constexpr float kMasked = -1e9F;

mx::array on_itself(const Inputs& in, bool alibi) {
  return ops::self_attention(in["q"], in["k"], in["v"], kHeads, ops::mask_bias(in["mask"], kMasked), alibi);
}

}  // namespace

void add_attention(Registry& registry) {
  registry.add("self_attention", [](const Inputs& in) { return on_itself(in, false); });
  registry.add("self_attention_alibi", [](const Inputs& in) { return on_itself(in, true); });
}

}  // namespace m2bert::bench
