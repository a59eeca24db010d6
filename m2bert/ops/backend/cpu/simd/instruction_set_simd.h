#pragma once

namespace m2bert::ops::cpu {

// The instruction set of the Highway loops on this CPU: "avx512", "avx2", "neon", "sve" or "portable".
const char* instruction_set();

}  // namespace m2bert::ops::cpu
