#include "m2bert/optim/clip.h"

#include <limits>

#include "m2bert/error.h"

namespace m2bert::optim {

ClipBy clip_named(const std::string& name, const std::string& where) {
  if (name == "norm") return ClipBy::norm;
  if (name == "value") return ClipBy::value;
  fail(where, ": clipping_type is \"", name, "\"; wants norm or value");
}

double clip_factor(const Clipping& clipping, double norm) {
  if (clipping.by != ClipBy::norm) return 1;
  const double factor = clipping.threshold / (norm + 1e-6);
  return factor > 1 ? 1 : factor;
}

mx::array clip_factor(const Clipping& clipping, const mx::array& sum_of_squares, const mx::array& loss) {
  const auto finite = mx::logical_and(mx::isfinite(sum_of_squares), mx::isfinite(loss));
  auto factor = mx::array(1.0f);
  if (clipping.by == ClipBy::norm)
    factor = mx::minimum(factor, mx::array(float(clipping.threshold)) / (mx::sqrt(sum_of_squares) + mx::array(1e-6f)));
  return mx::where(finite, factor, mx::array(std::numeric_limits<float>::quiet_NaN()));
}

double clip_limit(const Clipping& clipping) {
  return clipping.by == ClipBy::value ? clipping.threshold : std::numeric_limits<double>::infinity();
}

}  // namespace m2bert::optim
