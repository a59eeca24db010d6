#pragma once
// Losses: float32 scalars, means over the batch.
#include "m2bert/mx.h"

namespace m2bert::nn {

// Mean of -log softmax(logits)[label]. logits [n, classes], labels [n] integer.
mx::array cross_entropy(const mx::array& logits, const mx::array& labels);

// Mean of (prediction - target)^2 over all values, which have one shape.
mx::array mse(const mx::array& prediction, const mx::array& target);

// Mean binary cross entropy of sigmoid(logits) and target in [0, 1], which have one shape.
mx::array bce_with_logits(const mx::array& logits, const mx::array& target);

}  // namespace m2bert::nn
