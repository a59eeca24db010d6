#pragma once
#include <cstdint>

#include "m2bert/models/config.h"
#include "m2bert/mx.h"

namespace m2bert::train {

// Floating-point operations of a training step on rows of `length` tokens: the GEMMs, attention scores and convolutions of the encoder and
// the head, once for the forward pass and twice for the backward pass. Norms, activations and the networks of the filters are not counted.
// head: the head's operations in the forward pass (tasks::Task::head_flops).
double training_flops(const models::Config& config, int64_t rows, int64_t length, double head);

// Operations a second of a GEMM of large square matrices on this device: the best of several runs, which take about a third of a second.
double measured_peak_flops(mx::Dtype dtype);

}  // namespace m2bert::train
