#pragma once
// device_train_microbatch_size: auto.
#include <cstdint>
#include <functional>

namespace m2bert::train {

// Bytes that this process may still take: what the system and the control group (a container's limit) leave on the CPU, the device's on a
// GPU. 0 where nobody says.
uint64_t free_memory();

// Bytes that a row of a microbatch takes. peak(rows): bytes that the gradient of so many rows takes at most, measured. Measures 1, 2, 4,
// ... rows, not more than `most`, until the rows are seen beside what every gradient takes; what is left of that counts as the rows', which
// errs on the safe side.
double memory_of_row(const std::function<uint64_t(int rows)>& peak, int most);

// Bytes that `work` takes at most beside what is there before: of the process where the system tells its peak (Linux), with what kernels
// take for themselves; else of MLX's arrays alone.
uint64_t peak_of(const std::function<void()>& work);

// The most rows whose memory is within four fifths of `free`: a power of two, or `most`; 1 if even that is too much.
int rows_that_fit(double memory_of_row, uint64_t free, int most);

}  // namespace m2bert::train
