#include "m2bert/ops/gradients.h"

#include <cmath>
#include <utility>

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"

namespace m2bert::ops {

namespace {

void check(const std::vector<mx::array*>& y, const std::vector<mx::array>& x) {
  require(y.size() == x.size(), "[axpby] y has ", y.size(), " arrays, x ", x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    require(y[i]->shape() == x[i].shape(), "[axpby] y has shape ", y[i]->shape(), ", x ", x[i].shape());
  }
}

void check(const char* op, const std::vector<mx::array>& arrays) {
  for (const auto& a : arrays) require(a.dtype() == mx::float32, "[", op, "] an array has dtype ", a.dtype(), ", wants float32");
}

}  // namespace

mx::array sum_of_squares(const std::vector<mx::array>& arrays, mx::StreamOrDevice s) {
  check("global_norm", arrays);
  if (auto sum = backend_for(s).sum_of_squares(arrays, mx::to_stream(s))) return *sum;
  auto total = mx::array(0.0f);
  for (const auto& a : arrays) total = mx::add(total, mx::sum(mx::square(a, s), s), s);
  return total;
}

double global_norm(const std::vector<mx::array>& arrays, mx::StreamOrDevice s) {
  check("global_norm", arrays);
  if (auto sum = backend_for(s).sum_of_squares(arrays, mx::to_stream(s))) return std::sqrt(double(sum->item<float>()));
  if (const auto norm = backend_for(s).global_norm(arrays, mx::to_stream(s))) return *norm;
  return global_norm_fallback(arrays, s);
}

double global_norm_fallback(const std::vector<mx::array>& arrays, mx::StreamOrDevice s) {
  std::vector<mx::array> sums;
  for (const auto& a : arrays) sums.push_back(mx::sum(mx::square(a, s), s));
  mx::eval(sums);
  double total = 0;
  for (auto& sum : sums) total += sum.item<float>();
  return std::sqrt(total);
}

mx::array flatten_together(const std::vector<mx::array>& arrays, mx::StreamOrDevice s) {
  check("flatten_together", arrays);
  if (auto flat = backend_for(s).flatten_together(arrays, mx::to_stream(s))) return *flat;
  return flatten_together_fallback(arrays, s);
}

mx::array flatten_together_fallback(const std::vector<mx::array>& arrays, mx::StreamOrDevice s) {
  check("flatten_together", arrays);
  std::vector<mx::array> flat;
  for (const auto& a : arrays) flat.push_back(mx::reshape(a, {-1}, s));
  return flat.empty() ? mx::zeros({0}) : mx::concatenate(flat, 0, s);
}

std::vector<mx::array> unflatten(const mx::array& flat, const std::vector<mx::Shape>& shapes, mx::StreamOrDevice s) {
  std::vector<mx::array> arrays;
  size_t begin = 0;
  for (const auto& shape : shapes) {
    mx::Strides strides(shape.size());
    size_t size = 1;
    for (size_t i = shape.size(); i-- > 0;) strides[i] = std::exchange(size, size * size_t(shape[i]));
    require(begin + size <= flat.size(), "[unflatten] the vector has ", flat.size(), " values, too few for shape ", shape);
    arrays.push_back(mx::as_strided(flat, shape, strides, begin, s));  // one operation each: there are hundreds
    begin += size;
  }
  return arrays;
}

void axpby(const std::vector<mx::array*>& y, const std::vector<mx::array>& x, double a, double b, mx::StreamOrDevice s) {
  check(y, x);
  if (!backend_for(s).axpby(y, x, a, b, mx::to_stream(s))) axpby_fallback(y, x, a, b, s);
}

void axpby_fallback(const std::vector<mx::array*>& y, const std::vector<mx::array>& x, double a, double b, mx::StreamOrDevice s) {
  check(y, x);
  auto times = [s](double factor, const mx::array& values) {
    return factor == 1 ? values : mx::multiply(mx::array(float(factor)), values, s);
  };
  std::vector<mx::array> made;
  for (size_t i = 0; i < y.size(); ++i) made.push_back(*y[i] = mx::add(times(a, *y[i]), times(b, x[i]), s));
  mx::async_eval(made);
}

}  // namespace m2bert::ops
