#pragma once
#include <cstddef>
#include <functional>
#include <optional>
#include <vector>

#include "m2bert/infer/batches.h"
#include "m2bert/mx.h"

namespace m2bert::infer {

// The forward passes of a window's batches. On a GPU, each batch is launched before the values of the one before it are read, so that the
// GPU computes while the host copies values and builds the next graph. On a CPU, which would only hold the memory of both, a batch is
// computed when it is read. The values are the same either way.
class WindowPasses {
 public:
  // Builds the graph of a batch's values.
  using Forward = std::function<mx::array(const TextBatch& batch)>;

  // Launches the first batch if launches_ahead. The window, and what forward refers to, must outlive this.
  WindowPasses(const Window& window, Forward forward, bool launches_ahead);

  // The values of the next batch, row-major, as float32.
  std::vector<float> next();

 private:
  void launch();

  const Window* window_;
  Forward forward_;
  bool launches_ahead_;
  size_t read_ = 0;                    // batches whose values were read
  std::optional<mx::array> launched_;  // of batch read_
};

}  // namespace m2bert::infer
