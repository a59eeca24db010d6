#pragma once

namespace m2bert::ops::cpu {

// ops::instruction_set of a build with kernels.
const char* instruction_set();

}  // namespace m2bert::ops::cpu
