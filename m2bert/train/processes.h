#pragma once
// The processes of one run, and their collective operations.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "m2bert/error.h"
#include "m2bert/nn/module.h"

namespace m2bert::train {

// Another process of the run is gone, so a collective operation cannot complete.
class ProcessLost : public Error {
 public:
  using Error::Error;
};

// Another process has not come to a collective operation in time. It may still exist.
class ProcessTimeout : public ProcessLost {
 public:
  using ProcessLost::ProcessLost;
};

// The signal (SIGUSR1) by which a launcher says that another process is gone. After it, collective operations throw ProcessLost at once.
extern const int kProcessLostSignal;
void handle_process_lost_signal();
bool is_process_lost();

class Processes {
 public:
  // A single process: sums return their input.
  Processes() = default;
  // The processes that MLX finds (see distributed.h). timeout: seconds that a collective operation waits for the others.
  Processes(mx::distributed::Group group, double timeout);

  int rank() const { return group_ ? group_->rank() : 0; }
  int size() const { return group_ ? group_->size() : 1; }
  bool first() const { return rank() == 0; }

  // Sums over all processes, bit for bit the same in each. Every process must call them in the same order with the same shapes.
  // Throws ProcessLost when one is gone, and ProcessTimeout after the timeout, or a minute after a signal (io/interrupt.h). Arrays that
  // were evaluated before can still be read and saved then.
  void sum_arrays(nn::Arrays& arrays) const;
  // The sums in MLX's graph of float32 arrays, which may be lazy. The device computes them one after the other, those of the last arrays
  // first, as a backward pass makes gradients, and after `last`, which becomes the last one of them. wait_for() waits for sums and throws
  // like sum_arrays, where reading one would wait without end. Returns the stages to evaluate in order: the arrays of a sum, with the sum
  // before, so that communication and the rest of the backward pass overlap. A single evaluation would run all sums last.
  std::vector<nn::Arrays> sum_lazily(nn::Arrays& arrays, std::optional<mx::array>& last) const;
  void wait_for(const nn::Arrays& sums) const;
  std::vector<int64_t> sum_counts(const std::vector<int64_t>& values) const;
  double sum_value(double value) const;  // in float32
  // The values of all processes, in the order of their ranks; each may have another number of them.
  template <class T>  // float or int64_t
  std::vector<T> gather(const std::vector<T>& values) const;
  // The rows of all processes [n, d], one below the other in the order of their ranks; each has as many.
  mx::array gather_rows(const mx::array& rows) const;
  bool any(bool value) const { return sum_counts({value ? 1 : 0})[0] > 0; }
  int64_t max(int64_t value) const;
  // Sends the first process's arrays or text to all others.
  void broadcast(const std::vector<mx::array*>& arrays) const;
  std::string broadcast(const std::string& text) const;
  // How many of the processes run on this machine; see distributed.h.
  int local_size() const { return local_size_; }
  void set_local_size(int count) { local_size_ = count; }

 private:
  mx::array sum(const mx::array& a) const;

  std::optional<mx::distributed::Group> group_;
  std::optional<mx::Stream> stream_;  // of its own: a collective operation that never ends must not block a checkpoint
  double timeout_ = 0;
  int local_size_ = 1;
};

}  // namespace m2bert::train
