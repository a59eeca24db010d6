#pragma once
// What is done with all gradients of a model at once: their norm, and sums of them.
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::ops {

// The square root of the sum of all squares, evaluated at once; NaN or infinite when a value is, or when the sum overflows. float32 arrays.
// The result is the same for every number of threads.
double global_norm(const std::vector<mx::array>& arrays, mx::StreamOrDevice s = {});
double global_norm_fallback(const std::vector<mx::array>& arrays, mx::StreamOrDevice s = {});

// y[i] = a y[i] + b x[i] for each pair of float32 arrays, evaluated at once; in place on the CPU where nobody else holds y[i]. Sums
// gradients (a = 1) and moves averages of weights (b = 1 - a). Throws Error for shapes that differ.
void axpby(const std::vector<mx::array*>& y, const std::vector<mx::array>& x, double a, double b, mx::StreamOrDevice s = {});
void axpby_fallback(const std::vector<mx::array*>& y, const std::vector<mx::array>& x, double a, double b, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
