#pragma once
#include <cstdint>

#include "m2bert/models/config.h"
#include "m2bert/mx.h"

namespace m2bert::train {

// Floating-point operations of a training step: the matrix products, attention scores and convolutions that the model needs, forward once
// and backward twice. Norms, activations and the filters' own networks, which do not grow with the batch, are not counted.
// rows of `length` tokens with `predicted` tokens through the masked-LM head.
double training_flops(const models::Config& config, int64_t rows, int64_t length, int64_t predicted);

// What a product of large square matrices reaches on this device, in operations a second: the best of some,
// in a third of a second or so.
double measured_peak_flops(mx::Dtype dtype);

}  // namespace m2bert::train
