#pragma once
// A parallel loop whose iterations may throw. Only for files compiled with OpenMP; without it the loop is serial.
#include <cstdint>
#include <exception>

namespace m2bert::ops::cpu {

// Calls f(i) for i in [0, count), handed out to threads one by one. If a call throws, the others still run, and the first exception is then
// rethrown.
template <class F>
void parallel_for(int64_t count, int threads, const F& f) {
  std::exception_ptr error;
#pragma omp parallel for schedule(dynamic) num_threads(threads)
  for (int64_t i = 0; i < count; ++i) {
    try {
      f(i);
    } catch (...) {
#pragma omp critical(m2bert_parallel_for)
      if (!error) error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace m2bert::ops::cpu
