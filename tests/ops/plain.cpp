#include "plain.h"

#include <numeric>
#include <stdexcept>

namespace m2bert::testing_ops {

Plain::Plain(mx::Shape s, double fill) : shape(std::move(s)) {
  values.assign(std::accumulate(shape.begin(), shape.end(), size_t(1), [](size_t n, int d) { return n * size_t(d); }), fill);
}

Plain::Plain(const mx::array& x) : shape(x.shape()) {
  auto wide = mx::contiguous(mx::astype(x, mx::float32));
  wide.eval();
  values.assign(wide.data<float>(), wide.data<float>() + wide.size());
}

mx::array Plain::array(mx::Dtype dtype) const {
  const std::vector<float> narrow(values.begin(), values.end());
  return mx::astype(mx::array(narrow.data(), shape), dtype);
}

size_t Plain::place(std::initializer_list<int> at) const {
  if (at.size() != shape.size()) throw std::out_of_range("Plain: one index for each axis");
  size_t place = 0, axis = 0;
  for (int i : at) {
    if (i < 0 || i >= shape[axis]) throw std::out_of_range("Plain: index outside the tensor");
    place = place * size_t(shape[axis++]) + size_t(i);
  }
  return place;
}

double relative_error(const mx::array& ours, const Plain& expected) {
  const Plain a(ours);
  double error = 0, scale = kLeastScale;
  for (size_t i = 0; i < a.values.size(); ++i) {
    const double difference = std::abs(a.values[i] - expected.values.at(i));
    if (!(difference <= error)) error = difference;  // also if it is NaN
    scale = std::max(scale, std::abs(expected.values[i]));
  }
  return error / scale;
}

namespace {

void expect_value(const mx::array& ours, const Plain& expected, double tolerance) {
  ASSERT_EQ(ours.shape(), expected.shape);
  const double error = relative_error(ours, expected);
  EXPECT_TRUE(error <= tolerance) << "differs from the definition by " << error << " of its largest value, allowed is " << tolerance;
}

double dot(const Plain& a, const Plain& b) { return std::inner_product(a.values.begin(), a.values.end(), b.values.begin(), 0.0); }

// d sum(plain * cotangent) / d inputs[which], by central differences.
Plain numeric_gradient(const PlainOp& plain, std::vector<Plain> inputs, size_t which, const Plain& cotangent) {
  Plain gradient(inputs[which].shape);
  for (size_t i = 0; i < gradient.values.size(); ++i) {
    double& x = inputs[which].values[i];
    const double at = x, h = 1e-5 * std::max(1.0, std::abs(at));
    x = at + h;
    const double above = dot(plain(inputs), cotangent);
    x = at - h;
    const double below = dot(plain(inputs), cotangent);
    x = at;
    gradient.values[i] = (above - below) / (2 * h);
  }
  return gradient;
}

}  // namespace

void expect_as_plain(const Op& op, const PlainOp& plain, const std::vector<mx::array>& inputs, double tolerance,
                     std::vector<int> differentiable) {
  const std::vector<Plain> doubles(inputs.begin(), inputs.end());
  const auto expected = plain(doubles);
  expect_value(op(inputs), expected, tolerance);
  if (differentiable.empty()) {
    differentiable.resize(inputs.size());
    std::iota(differentiable.begin(), differentiable.end(), 0);
  }
  const auto cotangent = random(expected.shape, 7919);
  auto loss = [&](const std::vector<mx::array>& in) { return mx::sum(mx::astype(op(in), mx::float32) * cotangent); };
  const auto ours = mx::grad(loss, differentiable)(inputs);
  for (size_t i = 0; i < ours.size(); ++i) {
    SCOPED_TRACE("gradient of input " + std::to_string(differentiable[i]));
    expect_value(ours[i], numeric_gradient(plain, doubles, size_t(differentiable[i]), Plain(cotangent)), tolerance);
  }
}

void expect_value_as_plain(const Op& op, const PlainOp& plain, std::vector<mx::array> inputs, mx::Dtype dtype, double tolerance) {
  for (auto& x : inputs) x = mx::astype(x, dtype);
  const auto ours = op(inputs);
  EXPECT_EQ(ours.dtype(), dtype);
  expect_value(ours, plain(std::vector<Plain>(inputs.begin(), inputs.end())), tolerance);
}

}  // namespace m2bert::testing_ops
