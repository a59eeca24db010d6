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

// `count` neighbours: value, value + 1, ...
struct IndexRun {
  int value, count;
};
// Runs one after the other, [n] int32. A GPU gets where they begin, not all values, unless they are short.
mx::array index_array(const std::vector<IndexRun>& runs);
// Its two forms: with all values, and from the step to each run.
mx::array index_array_of_values(const std::vector<IndexRun>& runs);
mx::array index_array_of_steps(const std::vector<IndexRun>& runs);

}  // namespace m2bert::ops
