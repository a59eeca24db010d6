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
  // The element at these indices, one for each axis.
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

// Random inputs are of order 1. A result that is smaller everywhere comes from terms that cancel, and has their rounding errors.
inline constexpr double kLeastScale = 0.5;

// max |a - b| over max |b|, or over kLeastScale where that is more.
double relative_error(const mx::array& ours, const Plain& expected);

// Holds `op` to `plain`: its value at `inputs`, and its gradients of sum(op * cotangent), cotangent random, to central differences of
// `plain` in double. `tolerance` is relative to the largest value of each tensor. Inputs that `differentiable` leaves out (indices; empty:
// none is left out) are constants. Keep inputs small: a plain evaluation for every element, twice.
void expect_as_plain(const Op& op, const PlainOp& plain, const std::vector<mx::array>& inputs, double tolerance = 1e-5,
                     std::vector<int> differentiable = {});

// The values alone, with inputs cast to `dtype` first; both see the cast inputs, so that `tolerance` is the op's own error.
void expect_value_as_plain(const Op& op, const PlainOp& plain, std::vector<mx::array> inputs, mx::Dtype dtype, double tolerance);

}  // namespace m2bert::testing_ops
