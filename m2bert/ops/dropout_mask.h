#pragma once
// How dropout chooses the values it drops: one definition, so that all forms of dropout drop the same ones. Includes no MLX.
#include <cstdint>

namespace m2bert::ops {

// Positions are hashed in lines of this many values: h = hash_mix(j * step + first), j is the position in line l,
// first = hash_mix(key[0] + l), step = hash_mix(key[1] + l) | 1.
inline constexpr int kDropoutLine = 4096;

// A value is dropped if its 32-bit hash is below this threshold; 0 <= p < 1.
inline uint32_t dropout_threshold(float p) { return static_cast<uint32_t>(double(p) * 4294967296.0); }

}  // namespace m2bert::ops
