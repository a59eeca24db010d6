#pragma once
// Arrays of values that the host has.
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::ops {

// The values as an array of int32 or float32, copied. As mx::array's constructor, which on a GPU takes what memory is free: often the
// device's, which it then moves to where the host can write it, and waits for the GPU to do so. Here memory that the host has written
// before is written again, once nothing refers to it. Thread-safe.
mx::array host_array(const int32_t* values, const mx::Shape& shape);
mx::array host_array(const float* values, const mx::Shape& shape);

// The values as an array [n] of int32. Of long runs of ascending neighbours, as indices of rows have, a GPU gets only where they begin.
mx::array index_array(const std::vector<int>& values);
// Its form on a GPU: the sums of ones, and at `begins` of the steps to there.
mx::array index_array_of_runs(const std::vector<int>& values, const std::vector<int>& begins);

}  // namespace m2bert::ops
