#pragma once

namespace m2bert::ops::cpu {

// Sets the size of this thread's OpenMP pool to threads(). Primitives call it on the computing thread, before the first parallel region.
void enter_pool();

}  // namespace m2bert::ops::cpu
