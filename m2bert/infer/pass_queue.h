#pragma once
#include <deque>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "m2bert/infer/batches.h"
#include "m2bert/mx.h"

namespace m2bert::infer {

// The forward passes of batches, in the order in which their windows were added. On a GPU each is launched before the values of the one
// before it are read, so that the GPU computes while the host copies values and builds the next graph. On a CPU, which would only hold the
// memory of both, a batch is computed when its values are read. The values are the same either way.
class PassQueue {
 public:
  // Builds the graph of a batch's values.
  using Forward = std::function<mx::array(const Window& window, const TextBatch& batch)>;

  // What forward refers to must outlive this.
  PassQueue(Forward forward, bool launches_ahead) : forward_(std::move(forward)), launches_ahead_(launches_ahead) {}

  // Adds the batches of a window, which must stay where it is until their values have been read.
  void add(const Window& window);

  // The values of the next batch, row-major, as float32. Error: there is none.
  std::vector<float> next();

 private:
  struct Waiting {
    const Window* window;
    const TextBatch* batch;
  };

  void launch();  // the next batch, if there is one

  Forward forward_;
  bool launches_ahead_;
  std::deque<Waiting> waiting_;
  std::optional<mx::array> launched_;  // of the batch before those
};

}  // namespace m2bert::infer
