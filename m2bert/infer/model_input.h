#pragma once
// The door between host data and MLX: batches in, plain numbers out.
#include <vector>

#include "m2bert/infer/batches.h"
#include "m2bert/models/encoder.h"

namespace m2bert::infer {

// The batch as arrays. Call it, and everything that takes its result, from the one thread that owns MLX.
models::Batch model_input(const Batch& batch);

// Evaluates an array and copies its values out, row-major, as float32.
std::vector<float> to_floats(const mx::array& a);

}  // namespace m2bert::infer
