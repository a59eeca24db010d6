#include "m2bert/infer/window_passes.h"

#include <utility>

#include "m2bert/models/inputs.h"

namespace m2bert::infer {

WindowPasses::WindowPasses(const Window& window, Forward forward, bool launches_ahead)
    : window_(&window), forward_(std::move(forward)), launches_ahead_(launches_ahead) {
  if (launches_ahead_) launch();
}

void WindowPasses::launch() {
  launched_.reset();
  if (read_ == window_->batches.size()) return;
  launched_ = models::as_floats(forward_(window_->batches[read_]));
  if (launches_ahead_) mx::async_eval(*launched_);
}

std::vector<float> WindowPasses::next() {
  if (!launched_) launch();
  const mx::array values = *launched_;
  ++read_;
  if (launches_ahead_) launch();
  else launched_.reset();
  return models::read_floats(values);
}

}  // namespace m2bert::infer
