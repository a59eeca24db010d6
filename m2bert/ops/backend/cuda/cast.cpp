#include "m2bert/ops/cast.h"

#include "m2bert/ops/backend/cuda/arrays_by_size.h"
#include "m2bert/ops/backend/cuda/cuda_backend.h"
#include "m2bert/ops/backend/cuda/kernel.h"

namespace m2bert::ops {

namespace {

using Arrays = std::vector<mx::array>;

// Of float32 arrays to bfloat16, or of bfloat16 arrays to float32.
Arrays cast_arrays(const Arrays& x, mx::Dtype dtype, mx::Stream s) {
  constexpr size_t at_once = 16;  // cast.cu
  Arrays y;
  for (const auto& a : x) y.push_back(mx::array(0, dtype));
  const auto order = cuda::by_size(x.size(), [&](size_t i) { return x[i].size(); });
  for (size_t first = 0; first < order.size(); first += at_once) {
    Arrays inputs;
    std::vector<mx::Shape> shapes;
    cuda::Scalars sizes;
    for (size_t i = first; i < first + at_once; ++i) {
      const bool there = i < order.size();
      inputs.push_back(x[order[there ? i : first]]);
      shapes.push_back(there ? inputs.back().shape() : mx::Shape{1});
      sizes.push_back(there ? int(inputs.back().size()) : 0);
    }
    const auto out = cuda::run({"cast", dtype == mx::bfloat16 ? "cast_to_bfloat16" : "cast_to_float32",
                                cuda::blocks_of(inputs[0].size(), 4096), int(at_once), 256},
                               inputs, shapes, std::vector(at_once, dtype), sizes, s);
    for (size_t i = first; i < std::min(first + at_once, order.size()); ++i) y[order[i]] = out[i - first];
  }
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i].size() == 0) y[i] = mx::astype(x[i], dtype, s);
  }
  return y;
}

}  // namespace

std::optional<Arrays> CudaBackend::cast_all(const Arrays& x, mx::Dtype dtype, mx::Stream s) const {
  const bool narrows = dtype == mx::bfloat16;
  const auto from = narrows ? mx::float32 : mx::bfloat16;
  if (x.empty() || (!narrows && dtype != mx::float32) || !std::ranges::all_of(x, [&](const auto& a) { return a.dtype() == from; })) return {};
  auto backward = [=](const Arrays&, const Arrays& cotangents, const Arrays&) { return cast_arrays(cotangents, from, s); };
  return mx::custom_vjp([=](const Arrays& in) { return cast_arrays(in, dtype, s); }, backward)(x);
}

}  // namespace m2bert::ops
