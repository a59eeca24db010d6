#pragma once
// What the processes of a run tell one another in a sum that each step computes anyway: whether to stop, and what a batch to come holds.
#include <cstdint>
#include <optional>
#include <vector>

namespace m2bert::train {

// What is counted of a batch: of one process, or of all.
struct Counts {
  int64_t samples = 0, tokens = 0;
  int64_t weight = 0;  // the task's
};

// What one process says.
struct Vote {
  bool stop = false;  // it was asked to stop
  // Its part of the batch to come, if nothing is against starting that step early. Not from a process that was asked to stop.
  std::optional<Counts> ready = {};
};

// A vote as values to be summed, always as many.
std::vector<float> values_of(const Vote& vote);

struct Outcome {
  bool stop = false;             // a process was asked to stop
  std::optional<Counts> totals;  // of the batch to come; nullopt unless all processes are ready
};

// sums: of the values of all processes. Counts are exact for up to 4096 processes and totals below 2^36.
Outcome outcome_of(const std::vector<float>& sums, int processes);

}  // namespace m2bert::train
