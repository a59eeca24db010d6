#pragma once
// The processes of one run, and what they add up together.
#include <cstdint>
#include <optional>
#include <vector>

#include "m2bert/nn/module.h"

namespace m2bert::train {

class Processes {
 public:
  // One process by itself: every sum is its own value.
  Processes() = default;
  // The processes that MLX finds (see distributed.h).
  explicit Processes(mx::distributed::Group group) : group_(std::move(group)) {}

  int rank() const { return group_ ? group_->rank() : 0; }
  int size() const { return group_ ? group_->size() : 1; }
  bool first() const { return rank() == 0; }

  // Sums over all processes, the same bits in each; every process must call them in the same order with the same shapes. Error when a
  // process is gone.
  void sum(nn::Arrays& arrays) const;
  std::vector<int64_t> sum(const std::vector<int64_t>& values) const;
  double sum(double value) const;  // in float32
  bool any(bool value) const { return sum(std::vector<int64_t>{value ? 1 : 0})[0] > 0; }
  // Waits for the others.
  void wait() const { any(false); }
  // Arrays of the first process in all others.
  void copy_from_first(const std::vector<mx::array*>& arrays) const;

 private:
  std::optional<mx::distributed::Group> group_;
};

}  // namespace m2bert::train
