#include "m2bert/ops/adamw.h"

#include <cmath>

#include "m2bert/error.h"
#include "m2bert/ops/backend/backend.h"

namespace m2bert::ops {

namespace {

void check(const std::vector<AdamWParameter>& parameters) {
  for (const auto& p : parameters) {
    const auto& shape = p.value->shape();
    require(p.gradient->shape() == shape && p.m->shape() == shape && p.v->shape() == shape, "[adamw_update] the parameter has shape ",
            shape, ", its gradient ", p.gradient->shape(), ", its moments ", p.m->shape(), " and ", p.v->shape());
    for (const auto* a : {p.value, p.gradient, p.m, p.v}) {
      require(a->dtype() == mx::float32, "[adamw_update] an array has dtype ", a->dtype(), ", wants float32");
    }
  }
}

AdamWOptions with_scale_of_array(AdamWOptions options) {
  options.gradient_scale = double(options.scale_array->item<float>());
  options.scale_array.reset();
  return options;
}

}  // namespace

double bias_correction(double beta, int64_t step) { return 1 - std::pow(beta, double(step)); }

void adamw_update(const std::vector<AdamWParameter>& parameters, const AdamWOptions& options, mx::StreamOrDevice s) {
  check(parameters);
  if (std::isnan(options.gradient_scale)) return;
  const auto& backend = backend_for(s);
  if (options.scale_array && !backend.takes_scale_array()) return adamw_update(parameters, with_scale_of_array(options), s);
  if (!backend.adamw_update(parameters, options, mx::to_stream(s))) adamw_update_fallback(parameters, options, s);
}

void adamw_update_fallback(const std::vector<AdamWParameter>& parameters, const AdamWOptions& o, mx::StreamOrDevice s) {
  check(parameters);
  if (o.scale_array) return adamw_update_fallback(parameters, with_scale_of_array(o), s);
  if (std::isnan(o.gradient_scale)) return;
  auto f = [](double x) { return mx::array(float(x)); };
  std::vector<mx::array> made;
  for (const auto& p : parameters) {
    auto g = mx::multiply(*p.gradient, f(o.gradient_scale), s);
    if (std::isfinite(o.gradient_limit)) g = mx::clip(g, f(-o.gradient_limit), f(o.gradient_limit), s);
    auto m = mx::add(mx::multiply(f(o.beta1), *p.m, s), mx::multiply(f(1 - o.beta1), g, s), s);
    auto v = mx::add(mx::multiply(f(o.beta2), *p.v, s), mx::multiply(f(1 - o.beta2), mx::square(g, s), s), s);
    auto root = mx::multiply(mx::sqrt(v, s), f(1 / std::sqrt(bias_correction(o.beta2, o.step))), s);
    auto direction = mx::divide(m, mx::add(root, f(o.eps), s), s);
    auto decayed = mx::multiply(*p.value, f(1 - p.decay), s);
    *p.value = mx::subtract(decayed, mx::multiply(f(p.learning_rate / bias_correction(o.beta1, o.step)), direction, s), s);
    *p.m = m;
    *p.v = v;
    made.insert(made.end(), {*p.value, m, v});
  }
  mx::eval(made);
}

}  // namespace m2bert::ops
