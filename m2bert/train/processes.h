#pragma once
// The processes of one run, and what they add up together.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "m2bert/error.h"
#include "m2bert/nn/module.h"

namespace m2bert::train {

// Another process of the run is gone: what it was to add can never come.
class ProcessLost : public Error {
 public:
  using Error::Error;
};

class Processes {
 public:
  // One process by itself: every sum is its own value.
  Processes() = default;
  // The processes that MLX finds (see distributed.h).
  explicit Processes(mx::distributed::Group group) : group_(std::move(group)) {}

  int rank() const { return group_ ? group_->rank() : 0; }
  int size() const { return group_ ? group_->size() : 1; }
  bool first() const { return rank() == 0; }

  // Sums over all processes, the same bits in each; every process must call them in the same order with the same shapes.
  // ProcessLost when one is gone.
  void sum_arrays(nn::Arrays& arrays) const;
  std::vector<int64_t> sum_counts(const std::vector<int64_t>& values) const;
  double sum_value(double value) const;  // in float32
  bool any(bool value) const { return sum_counts({value ? 1 : 0})[0] > 0; }
  int64_t largest(int64_t value) const;
  // How many of the processes share this machine; see distributed.h.
  int on_this_host() const { return on_this_host_; }
  void set_on_this_host(int count) { on_this_host_ = count; }
  // Waits for the others.
  void wait() const { any(false); }
  // Arrays of the first process in all others.
  void copy_from_first(const std::vector<mx::array*>& arrays) const;
  std::string copy_from_first(const std::string& text) const;

 private:
  std::optional<mx::distributed::Group> group_;
  int on_this_host_ = 1;
};

}  // namespace m2bert::train
