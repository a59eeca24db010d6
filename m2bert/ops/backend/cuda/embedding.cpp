#include "m2bert/ops/embedding.h"

#include "m2bert/ops/backend/cuda/cuda_backend.h"
#include "m2bert/ops/backend/cuda/kernel.h"

namespace m2bert::ops {

namespace {
using Arrays = std::vector<mx::array>;
}

Backend::Array CudaBackend::embedding_rows(const mx::array& table, const mx::array& index, mx::Stream s) const {
  const auto dtype = table.dtype();
  if ((dtype != mx::bfloat16 && dtype != mx::float32) || table.size() == 0 || index.size() == 0) return {};
  auto forward = [s](const Arrays& in) { return Arrays{mx::take(in[0], in[1], 0, s)}; };
  auto backward = [s, dtype](const Arrays& in, const Arrays& cotangents, const Arrays&) {
    const int rows = in[0].shape(0), width = in[0].shape(1), n = int(in[1].size());
    const auto given = mx::reshape(mx::astype(in[1], mx::int32, s), {-1}, s);
    const auto index = mx::where(mx::less(given, mx::array(0), s), mx::add(given, mx::array(rows), s), given, s);
    const auto order = mx::argsort(index, 0, s);
    constexpr int threads = 256, warps = threads / 32;
    const int columns = 512 / int(mx::size_of(dtype));  // of a block
    const auto dtable =
        cuda::run({"embedding_gradient", dtype == mx::bfloat16 ? "embedding_gradient_bfloat16" : "embedding_gradient_float32", rows,
                   cuda::ceil_div(width, columns), threads, warps * columns * 4},
                  {mx::reshape(cotangents[0], {n, width}, s), order, mx::take(index, order, 0, s)}, in[0].shape(), dtype, {n, width}, s);
    return Arrays{dtable, mx::zeros_like(in[1], s)};
  };
  return mx::custom_vjp(forward, backward)({table, index})[0];
}

}  // namespace m2bert::ops
