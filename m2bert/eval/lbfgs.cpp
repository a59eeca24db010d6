#include "m2bert/eval/lbfgs.h"

#include <algorithm>
#include <cmath>
#include <deque>

namespace m2bert::eval {
namespace {

using Vector = std::vector<double>;

double dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

void add(Vector& to, double factor, const Vector& from) {
  for (size_t i = 0; i < to.size(); ++i) to[i] += factor * from[i];
}

double largest(const Vector& values) {
  double most = 0;
  for (const double value : values) most = std::max(most, std::abs(value));
  return most;
}

// A step, and how much it changed the gradient.
struct Pair {
  Vector step, change;
  double inverse_product;
};

// Minus the gradient, multiplied by the approximate inverse Hessian.
Vector direction_of(const Vector& gradient, const std::deque<Pair>& pairs) {
  Vector direction = gradient, factors(pairs.size());
  for (size_t i = pairs.size(); i-- > 0;) {
    factors[i] = pairs[i].inverse_product * dot(pairs[i].step, direction);
    add(direction, -factors[i], pairs[i].change);
  }
  const double scale = pairs.empty() ? 1 / std::max(1.0, std::sqrt(dot(gradient, gradient)))
                                     : 1 / (pairs.back().inverse_product * dot(pairs.back().change, pairs.back().change));
  for (double& value : direction) value *= scale;
  for (size_t i = 0; i < pairs.size(); ++i)
    add(direction, factors[i] - pairs[i].inverse_product * dot(pairs[i].change, direction), pairs[i].step);
  for (double& value : direction) value = -value;
  return direction;
}

struct Point {
  Vector x, gradient;
  double value = 0;
};

// The first point along the direction, by halved steps, that is low enough; false if there is none.
bool line_search(const Objective& objective, const Point& from, const Vector& direction, Point& to) {
  constexpr double kSufficient = 1e-4;
  constexpr int kHalvings = 40;
  const double slope = dot(from.gradient, direction);
  double step = 1;
  for (int i = 0; i < kHalvings; ++i, step /= 2) {
    to.x = from.x;
    add(to.x, step, direction);
    to.value = objective(to.x, to.gradient);
    if (to.value <= from.value + kSufficient * step * slope) return true;
  }
  return false;
}

}  // namespace

LbfgsResult minimize_lbfgs(const Objective& objective, std::vector<double> start, const LbfgsOptions& options) {
  Point here{start, Vector(start.size()), 0}, next{{}, Vector(start.size()), 0};
  here.value = objective(here.x, here.gradient);
  std::deque<Pair> pairs;
  int iterations = 0;
  bool converged = largest(here.gradient) <= options.tolerance;
  while (!converged && iterations < options.max_iterations && line_search(objective, here, direction_of(here.gradient, pairs), next)) {
    ++iterations;
    Pair pair{next.x, next.gradient, 0};
    add(pair.step, -1, here.x);
    add(pair.change, -1, here.gradient);
    const double product = dot(pair.step, pair.change);
    if (product > 0) {
      pair.inverse_product = 1 / product;
      pairs.push_back(std::move(pair));
      if (pairs.size() > static_cast<size_t>(std::max(1, options.history))) pairs.pop_front();
    }
    std::swap(here, next);
    converged = largest(here.gradient) <= options.tolerance;
  }
  return {std::move(here.x), iterations, converged};
}

}  // namespace m2bert::eval
