#pragma once
// device_train_microbatch_size: auto.
#include <cstdint>
#include <functional>

namespace m2bert::train {

// Bytes that this process can still allocate: on the CPU the smaller of what the system and the cgroup (a container's limit) have left, on
// a GPU what the device has left. 0 if unknown.
uint64_t free_memory();

// Bytes that a row of a microbatch needs. peak(rows): measures the peak memory of the gradient of that many rows. Measures 1, 2, 4, ...,
// at most `most` rows, until the rows stand out from the constant cost of a gradient. What remains of that cost is attributed to the rows,
// which errs on the safe side.
double memory_of_row(const std::function<uint64_t(int rows)>& peak, int most);

// Peak memory of `work` in bytes, above what was allocated before. On Linux that of the process, including what kernels allocate; elsewhere
// of MLX's arrays alone.
uint64_t peak_memory_of(const std::function<void()>& work);

// The largest number of rows whose memory is within four fifths of `free`: a power of two, or `most`; at least 1.
int rows_that_fit(double memory_of_row, uint64_t free, int most);

}  // namespace m2bert::train
