#pragma once
// Whether weights are those of a configuration's model.
#include <string>

#include "m2bert/checkpoint/tensor_file.h"
#include "m2bert/models/config.h"

namespace m2bert::models {

// Throws an Error with the table of names and shapes, which calls the weights `source`, unless load_pretrained could load them: the head
// follows from the names. Weights may be int8, and reads none of their values.
void check_weights(const Config& config, const checkpoint::TensorMap& weights, const std::string& source);

// Rows of the classifier; -1 without one.
int classifier_rows(const checkpoint::TensorMap& weights);

}  // namespace m2bert::models
