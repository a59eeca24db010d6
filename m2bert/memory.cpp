#include "m2bert/memory.h"

#include <cstdlib>  // __GLIBC__

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace m2bert {

void keep_freed_memory() {
#ifdef __GLIBC__
  constexpr int large = 1 << 30;
  mallopt(M_ARENA_MAX, 1);  // the others' heaps end at 64 MiB
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, large);
  mallopt(M_TOP_PAD, 64 << 20);
#endif
}

}  // namespace m2bert
