#include "m2bert/ops/cast.h"

#include "m2bert/ops/backend/backend.h"

namespace m2bert::ops {

mx::array cast_fallback(const mx::array& x, mx::Dtype dtype, mx::StreamOrDevice s) { return mx::astype(x, dtype, s); }

mx::array cast(const mx::array& x, mx::Dtype dtype, mx::StreamOrDevice s) {
  if (x.dtype() == dtype) return cast_fallback(x, dtype, s);
  if (auto y = backend_for(s).cast(x, dtype, mx::to_stream(s))) return *y;
  return cast_fallback(x, dtype, s);
}

std::vector<mx::array> cast_arrays(const std::vector<mx::array>& arrays, mx::Dtype dtype, mx::StreamOrDevice s) {
  if (auto all = backend_for(s).cast_arrays(arrays, dtype, mx::to_stream(s))) return *all;
  return cast_arrays_fallback(arrays, dtype, s);
}

std::vector<mx::array> cast_arrays_fallback(const std::vector<mx::array>& arrays, mx::Dtype dtype, mx::StreamOrDevice s) {
  std::vector<mx::array> all;
  for (const auto& a : arrays) all.push_back(cast(a, dtype, s));
  return all;
}

}  // namespace m2bert::ops
