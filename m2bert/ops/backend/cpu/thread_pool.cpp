#include "m2bert/ops/backend/cpu/thread_pool.h"

#include <omp.h>

#include "m2bert/threads.h"

namespace m2bert::ops::cpu {

void enter_pool() {
  if (omp_get_max_threads() != threads()) omp_set_num_threads(threads());
}

}  // namespace m2bert::ops::cpu
