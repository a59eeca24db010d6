#pragma once
// Operations on all gradients of a model at once: their norm, and sums.
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::ops {

// The square root of the sum of all squares of float32 arrays. Runs immediately. NaN or infinite if a value is, or if the sum overflows.
// The result does not depend on the number of threads. Throws Error if a dtype is not float32.
double global_norm(const std::vector<mx::array>& arrays, mx::StreamOrDevice s = {});
// Its square as a float32 scalar of MLX's graph, which can so be evaluated together with the arrays.
mx::array sum_of_squares(const std::vector<mx::array>& arrays, mx::StreamOrDevice s = {});
double global_norm_fallback(const std::vector<mx::array>& arrays, mx::StreamOrDevice s = {});

// The values of float32 arrays one after another, [sum of sizes]: what a collective operation sends at once. And arrays of these shapes out
// of such a vector, as views.
mx::array flatten_together(const std::vector<mx::array>& arrays, mx::StreamOrDevice s = {});
mx::array flatten_together_fallback(const std::vector<mx::array>& arrays, mx::StreamOrDevice s = {});
std::vector<mx::array> unflatten(const mx::array& flat, const std::vector<mx::Shape>& shapes, mx::StreamOrDevice s = {});

// y[i] = a y[i] + b x[i] for each pair of float32 arrays. Starts immediately; CPU kernels write in place if nothing else refers to y[i].
// Sums gradients (a = 1) and updates averages of weights (b = 1 - a). Throws Error if shapes differ.
void axpby(const std::vector<mx::array*>& y, const std::vector<mx::array>& x, double a, double b, mx::StreamOrDevice s = {});
void axpby_fallback(const std::vector<mx::array*>& y, const std::vector<mx::array>& x, double a, double b, mx::StreamOrDevice s = {});

}  // namespace m2bert::ops
