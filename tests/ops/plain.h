#pragma once
// Operations written plainly in C++ with double, and their gradients by finite differences, to compare ours with their definitions.
#include <cmath>
#include <functional>
#include <vector>

#include "near.h"

namespace m2bert::testing_ops {

// A row-major tensor of doubles.
struct Plain {
  mx::Shape shape;
  std::vector<double> values;

  Plain(mx::Shape s, double fill = 0);
  explicit Plain(const mx::array& x);  // evaluates; any real dtype

  int dim(int axis) const { return shape[size_t(axis < 0 ? axis + int(shape.size()) : axis)]; }
  // The element at these indices, one per axis.
  template <class... I>
  double& operator()(I... at) {
    return values[place({int(at)...})];
  }
  template <class... I>
  double operator()(I... at) const {
    return values[place({int(at)...})];
  }
  mx::array array(mx::Dtype dtype = mx::float32) const;

 private:
  size_t place(std::initializer_list<int> at) const;
};

using PlainOp = std::function<Plain(const std::vector<Plain>&)>;
using Op = std::function<mx::array(const std::vector<mx::array>&)>;

// Random inputs are of order 1. A result that is smaller everywhere comes from cancelling terms, and has their rounding errors.
inline constexpr double kLeastScale = 0.5;

// max |a - b| / max(max |b|, kLeastScale).
double relative_error(const mx::array& ours, const Plain& expected);

// Expects the value of `op` at `inputs` to equal `plain`'s, and the gradients of sum(op * cotangent), with a random cotangent, to equal
// central differences of `plain` in double. `tolerance` is relative to the largest value of each tensor. Only the inputs in
// `differentiable` (indices; empty: all) are differentiated. Keep inputs small: `plain` is evaluated twice per element.
void expect_as_plain(const Op& op, const PlainOp& plain, const std::vector<mx::array>& inputs, double tolerance = 1e-5,
                     std::vector<int> differentiable = {});

// Only the values, with inputs cast to `dtype` first. Both get the cast inputs, so `tolerance` is the op's own error.
void expect_value_as_plain(const Op& op, const PlainOp& plain, std::vector<mx::array> inputs, mx::Dtype dtype, double tolerance);

}  // namespace m2bert::testing_ops
