#pragma once
// Losses: float32 scalars, means over the batch.
#include "m2bert/mx.h"

namespace m2bert::nn {

// Mean of -log softmax(logits)[label]. logits [n, classes], labels [n] integer.
mx::array cross_entropy(const mx::array& logits, const mx::array& labels);

// Mean cross entropy over the rows where `counts` is true, without gathering those rows.
//   logits [..., classes], labels [...], counts [...] bool. If there is no such row the loss is NaN, like torch's mean of nothing.
mx::array masked_cross_entropy(const mx::array& logits, const mx::array& labels, const mx::array& counts);

// Mean of (prediction - target)^2 over all values, which have one shape.
mx::array mse(const mx::array& prediction, const mx::array& target);

// Mean binary cross entropy of sigmoid(logits) and target in [0, 1], which have one shape.
mx::array bce_with_logits(const mx::array& logits, const mx::array& target);

}  // namespace m2bert::nn
