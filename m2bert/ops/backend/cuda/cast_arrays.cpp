#include "m2bert/ops/cast.h"

#include <algorithm>
#include <climits>

#include "m2bert/ops/backend/cuda/array_parts.h"
#include "m2bert/ops/backend/cuda/cuda_backend.h"
#include "m2bert/ops/backend/cuda/kernel.h"

namespace m2bert::ops {

namespace {

using Arrays = std::vector<mx::array>;
constexpr size_t MOST = 16;  // arrays of a launch (cast_arrays.cu)

// At most MOST arrays, all of them float32 or all bfloat16, as the other one.
Arrays cast_some(const Arrays& in, mx::Dtype dtype, mx::Stream s) {
  Arrays inputs;
  std::vector<mx::Shape> shapes;
  cuda::Scalars scalars{dtype == mx::float32};
  int parts = 0;
  for (size_t i = 0; i < MOST; ++i) {
    const bool there = i < in.size();
    inputs.push_back(there ? mx::contiguous(in[i], false, s) : inputs[0]);
    shapes.push_back(there ? in[i].shape() : mx::Shape{1});
    const int n = there ? int(in[i].size()) : 0;
    parts += cuda::parts_of(n), scalars.push_back(n);
  }
  auto out = cuda::run({"cast_arrays", "cast_arrays", parts, 1, cuda::PART_THREADS}, inputs, shapes, std::vector(MOST, dtype), scalars, s);
  out.resize(in.size(), in[0]);
  return out;
}

bool supports(const Arrays& arrays, mx::Dtype dtype) {
  return dtype == mx::bfloat16 && std::ranges::all_of(arrays, [](const mx::array& a) {
           return a.dtype() == mx::float32 && a.size() > 0 && a.size() <= size_t(INT_MAX);
         });
}

}  // namespace

std::optional<Arrays> CudaBackend::cast_arrays(const Arrays& arrays, mx::Dtype dtype, mx::Stream s) const {
  if (!supports(arrays, dtype)) return {};
  auto forward = [=](const Arrays& in) { return cast_some(in, mx::bfloat16, s); };
  auto backward = [=](const Arrays&, const Arrays& cotangents, const Arrays&) {
    Arrays narrow;
    for (const auto& c : cotangents) narrow.push_back(mx::astype(c, mx::bfloat16, s));
    return cast_some(narrow, mx::float32, s);
  };
  const auto function = mx::custom_vjp(forward, backward);
  Arrays all;
  for (size_t first = 0; first < arrays.size(); first += MOST) {
    const auto end = arrays.begin() + std::ptrdiff_t(std::min(first + MOST, arrays.size()));
    const auto some = function({arrays.begin() + std::ptrdiff_t(first), end});
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

}  // namespace m2bert::ops
