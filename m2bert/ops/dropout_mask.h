#pragma once
// How dropout chooses the values it drops: one definition, so that all forms of dropout drop the same ones. Includes no MLX.
#include <cstdint>

namespace m2bert::ops {

// Values are hashed in lines of this many: value j of line l gets the hash hash_mix(j * step + first), with first = hash_mix(key[0] + l)
// and step = hash_mix(key[1] + l) | 1.
inline constexpr int kDropoutLine = 4096;

// Values whose hash is below this are dropped; p: the probability of being dropped, 0 <= p < 1.
inline uint32_t dropout_threshold(float p) { return static_cast<uint32_t>(double(p) * 4294967296.0); }

}  // namespace m2bert::ops
