#pragma once
// Gradient clipping, as in torch.
#include <string>

#include "m2bert/mx.h"

namespace m2bert::optim {

enum class ClipBy { nothing, norm, value };

struct Clipping {
  ClipBy by = ClipBy::nothing;
  double threshold = 0;
};

// A recipe's clipping_type: norm or value. Error that starts with `where` for another (adaptive clipping is not supported).
ClipBy clip_named(const std::string& name, const std::string& where);

// The factor of every gradient: min(1, threshold / (norm + 1e-6)) when clipping by norm, else 1. NaN if the norm is NaN.
double clip_factor(const Clipping& clipping, double norm);
// The same in MLX's graph, of the square of the norm, for AdamW::step before the host knows them: a float32 scalar. NaN where the loss or
// the norm is NaN or infinite.
mx::array clip_factor(const Clipping& clipping, const mx::array& sum_of_squares, const mx::array& loss);
// The largest absolute value of a gradient: the threshold when clipping by value, else infinity.
double clip_limit(const Clipping& clipping);

}  // namespace m2bert::optim
