#pragma once
// Shapes and random inputs of a mixer, for the tests of its kernels.
#include <cmath>
#include <ostream>

#include "m2bert/ops/monarch_mix.h"
#include "near.h"

namespace m2bert::testing_ops {

struct Mixer {
  int B, L, H;
  bool bidirectional, residual;
};

inline std::ostream& operator<<(std::ostream& out, const Mixer& m) {
  return out << "B" << m.B << " L" << m.L << " H" << m.H << (m.bidirectional ? " both ways" : " causal") << (m.residual ? " residual" : "");
}

inline ops::MixerFilters filters_of(const Mixer& m) {
  auto filter = [&](int seed) { return random({m.L, m.H}, seed) * mx::array(1 / std::sqrt(float(m.L))); };
  ops::MixerFilters f{filter(1), random({m.H}, 2), {}, {}, {}, {}};
  if (m.bidirectional) f.k_rev = filter(3);
  if (m.residual) {
    f.k2 = filter(4);
    f.D2 = random({m.H}, 5);
    if (m.bidirectional) f.k2_rev = filter(6);
  }
  return f;
}

}  // namespace m2bert::testing_ops
