#include "m2bert/infer/pass_queue.h"

#include "m2bert/error.h"
#include "m2bert/models/inputs.h"

namespace m2bert::infer {

void PassQueue::add(const Window& window) {
  for (const TextBatch& batch : window.batches) waiting_.push_back({&window, &batch});
  if (launches_ahead_ && !launched_) launch();
}

void PassQueue::launch() {
  if (waiting_.empty()) return;
  const auto [window, batch] = waiting_.front();
  launched_ = models::as_floats(forward_(*window, *batch));
  waiting_.pop_front();
  if (launches_ahead_) mx::async_eval(*launched_);
}

std::vector<float> PassQueue::next() {
  if (!launched_) launch();
  require(launched_.has_value(), "[PassQueue] the values of all batches were read");
  const mx::array values = *launched_;
  launched_.reset();
  if (launches_ahead_) launch();
  return models::read_floats(values);
}

}  // namespace m2bert::infer
