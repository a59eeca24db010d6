#pragma once
// device_train_microbatch_size: auto.
#include <cstdint>
#include <functional>

namespace m2bert::train {

// Bytes that this process may still take: what the system and the control group (a container's limit) leave on the CPU, the device's on a
// GPU. 0 where nobody says.
uint64_t free_memory();

// Memory of a microbatch as a line through two measurements.
struct MemoryModel {
  double fixed = 0, per_row = 0;  // bytes
  double of(int rows) const { return fixed + per_row * rows; }
};

// peak(rows): bytes that the gradient of so many rows takes at most, measured. Measures one row, then four.
MemoryModel measure_memory(const std::function<uint64_t(int rows)>& peak);

// The most rows whose memory is within four fifths of `free`, a power of two or `most`; 1 if even that is too much.
int rows_that_fit(const MemoryModel& model, uint64_t free, int most);

}  // namespace m2bert::train
