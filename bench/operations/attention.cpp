#include "m2bert/ops/attention.h"

#include "bench/operations/registry.h"
#include "m2bert/ops/padding.h"
#include "m2bert/ops/varlen_attention.h"

namespace m2bert::bench {
namespace {

constexpr float kMasked = -1e9F;

mx::array self_attention(const Inputs& in, bool alibi) {
  return ops::self_attention(in["q"], in["k"], in["v"], kHeads, ops::mask_bias(in["mask"], kMasked), alibi);
}

Function varlen(const Inputs& inputs) {
  const ops::CuSeqlens lengths(ops::unpadding(inputs["mask"]).cu_seqlens);
  return [lengths](const Inputs& in) { return ops::attention_varlen(in["q"], in["k"], in["v"], lengths, lengths); };
}

}  // namespace

void add_attention(Registry& registry) {
  registry.add("self_attention", [](const Inputs& in) { return self_attention(in, false); });
  registry.add("self_attention_alibi", [](const Inputs& in) { return self_attention(in, true); });
  registry.add("scaled_dot_product_attention_causal",
               [](const Inputs& in) { return ops::scaled_dot_product_attention(in["q"], in["k"], in["v"], {.causal = true}); });
  registry.add_with_setup("attention_varlen", varlen);
}

}  // namespace m2bert::bench
