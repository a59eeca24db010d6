#pragma once

namespace m2bert::ops::cpu {

// Sizes OpenMP's pool on this thread to threads(). A primitive calls it on the thread that computes, before its first parallel region.
void enter_pool();

}  // namespace m2bert::ops::cpu
