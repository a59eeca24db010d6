#pragma once
// CPU kernels that run at once, outside of MLX's graph, and write into the arrays they are given.
#include <functional>
#include <optional>
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::ops::cpu {

// Evaluates the arrays; each is then float32 and row-contiguous. Throws Error that names `op` for another dtype.
void require_plain(const char* op, std::vector<mx::array*> arrays);

// Memory for new values of an array: its own where nobody else holds the array or its data, so that a copy somebody kept does not change.
class Rewrite {
 public:
  explicit Rewrite(mx::array& array);
  const float* from() const { return from_; }
  float* to() const { return to_; }
  // Puts the new values in the array's place; to be called when they are there.
  void done();

 private:
  mx::array* array_;
  std::optional<mx::array> fresh_;
  const float* from_;
  float* to_;
};

// Runs the task on the stream's own thread, which has the pool of the other kernels, and waits for it.
void run_on(mx::Stream s, std::function<void()> task);

}  // namespace m2bert::ops::cpu
