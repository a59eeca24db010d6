#pragma once
// For CPU kernels that run immediately, outside MLX's graph, and update arrays in place.
#include <functional>
#include <optional>
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::ops::cpu {

// Evaluates the arrays and makes them row-contiguous. Throws Error, naming `op`, unless they are float32.
void require_plain(const char* op, std::vector<mx::array*> arrays);

// Memory for new values of an array: its own if nothing else refers to the array or its data, otherwise new memory, so copies never change.
class Rewrite {
 public:
  explicit Rewrite(mx::array& array);
  const float* from() const { return from_; }
  float* to() const { return to_; }
  // Makes the new values the array's. Call it when they have been written.
  void done();

 private:
  mx::array* array_;
  std::optional<mx::array> fresh_;
  const float* from_;
  float* to_;
};

// Runs the task on the stream's thread, which has the thread pool of the other kernels, and waits for it.
void run_on(mx::Stream s, std::function<void()> task);

}  // namespace m2bert::ops::cpu
