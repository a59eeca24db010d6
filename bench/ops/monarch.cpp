#include "m2bert/ops/monarch.h"

#include "bench/ops/registry.h"

namespace m2bert::bench {

void add_monarch(Registry& registry) {
  registry.add("blockdiag_multiply_up", [](const Inputs& in) { return ops::blockdiag_multiply(in["x"], in["weight"]); });
  registry.add("blockdiag_multiply_down", [](const Inputs& in) { return ops::blockdiag_multiply(in["x"], in["weight"], in["bias"]); });
}

}  // namespace m2bert::bench
