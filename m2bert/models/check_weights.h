#pragma once
// Whether weights are those of a configuration's model.
#include <string>

#include "m2bert/checkpoint/tensor_file.h"
#include "m2bert/models/config.h"

namespace m2bert::models {

// Throws an Error with a table of names and shapes unless load_pretrained could load the weights, whose head follows from their names.
// Reads no values, so int8 weights are checked as fast as others. source: what the error calls the weights.
void check_weights(const Config& config, const checkpoint::TensorMap& weights, const std::string& source);

}  // namespace m2bert::models
