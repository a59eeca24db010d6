#pragma once
// Minimizes a smooth function of many variables: L-BFGS (Nocedal and Wright, Numerical Optimization, algorithms 7.4 and 7.5) with a
// backtracking line search, which suits convex functions.
#include <functional>
#include <span>
#include <vector>

namespace m2bert::eval {

// The value at x; writes the gradient.
using Objective = std::function<double(std::span<const double> x, std::span<double> gradient)>;

struct LbfgsOptions {
  int max_iterations = 100;
  double tolerance = 1e-6;  // stops when no element of the gradient is larger
  int history = 10;         // pairs of steps and gradient changes that are kept
};

struct LbfgsResult {
  std::vector<double> x;
  int iterations = 0;
  bool converged = false;  // the tolerance was reached
};

LbfgsResult minimize_lbfgs(const Objective& objective, std::vector<double> start, const LbfgsOptions& options = {});

}  // namespace m2bert::eval
