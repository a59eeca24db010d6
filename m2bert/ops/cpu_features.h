#pragma once

namespace m2bert::ops {

// Whether this CPU multiplies bfloat16 (AVX-512 or AMX, and a build with kernels). Without it bfloat16 products are computed in float32.
bool has_bfloat16_products();

}  // namespace m2bert::ops
