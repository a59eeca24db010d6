#include "bench/operations/registry.h"
#include "m2bert/ops/rearrange.h"

namespace m2bert::bench {

// A view costs nothing, so this times the copy that the next operation would have to make.
void add_einops(Registry& registry) {
  registry.add("rearrange_heads",
               [](const Inputs& in) { return mx::contiguous(ops::rearrange(in["x"], "b l (h d) -> b h l d", {{"h", kHeads}})); });
  registry.add("rearrange_transpose", [](const Inputs& in) { return mx::contiguous(ops::rearrange(in["x"], "b l d -> b d l")); });
  registry.add("repeat", [](const Inputs& in) { return mx::contiguous(ops::repeat(in["x"], "l d -> b l d", {{"b", 4}})); });
  registry.add("reduce_mean", [](const Inputs& in) { return ops::reduce(in["x"], "b l d -> b d", ops::Reduction::mean); });
  registry.add("reduce_max_pool", [](const Inputs& in) { return ops::reduce(in["x"], "b (l 4) d -> b l d", ops::Reduction::max); });
}

}  // namespace m2bert::bench
