#include "m2bert/ops/monarch.h"

#include "bench/operations/registry.h"
#include "m2bert/ops/low_rank.h"
#include "m2bert/ops/monarch_factor.h"

namespace m2bert::bench {
namespace {

// Factors are unique only up to their signs, so the reconstructed matrices are compared.
mx::array projected(const Inputs& in) {
  const auto [w1, w2] = ops::blockdiag_butterfly_project(in["matrix"]);
  return ops::blockdiag_butterfly_to_dense(w1, w2);
}

mx::array low_rank(const Inputs& in) {
  const auto [u, vt] = ops::low_rank_project(in["matrix"], kRank);
  return mx::matmul(u, vt);
}

}  // namespace

void add_monarch(Registry& registry) {
  registry.add("blockdiag_multiply_up", [](const Inputs& in) { return ops::blockdiag_multiply(in["x"], in["weight"]); });
  registry.add("blockdiag_multiply_down", [](const Inputs& in) { return ops::blockdiag_multiply(in["x"], in["weight"], in["bias"]); });
  registry.add("blockdiag_butterfly_multiply",
               [](const Inputs& in) { return ops::blockdiag_butterfly_multiply(in["x"], in["w1"], in["w2"]); });
  registry.add("einsum_simple",
               [](const Inputs& in) { return ops::blockdiag_butterfly_multiply_einsum_simple(in["x"], in["w1"], in["w2"]); });
  registry.add("einsum", [](const Inputs& in) { return ops::blockdiag_butterfly_multiply_einsum(in["x"], in["w1"], in["w2"], kB2); });
  registry.add("einsum_rank", [](const Inputs& in) { return ops::blockdiag_butterfly_multiply_einsum_rank(in["x"], in["w1"], in["w2"]); });
  registry.add("butterfly_fft", [](const Inputs& in) { return ops::butterfly_fft(in["x"], in["w1"], in["w2"]); });
  registry.add("butterfly_factor_to_matrix", [](const Inputs& in) { return ops::butterfly_factor_to_matrix(in["twiddle"], kFactor); });
  registry.add("blockdiag_weight_to_dense_weight", [](const Inputs& in) { return ops::blockdiag_weight_to_dense_weight(in["weight"]); });
  registry.add("blockdiag_butterfly_project", projected);
  registry.add("low_rank_project", low_rank);
}

}  // namespace m2bert::bench
