#include <mlx/utils.h>

#include <algorithm>
#include <functional>
#include <numeric>

#include "m2bert/ops/backend/cuda/channel_major.h"
#include "m2bert/ops/backend/cuda/cuda_backend.h"
#include "m2bert/ops/backend/cuda/kernel.h"

namespace m2bert::ops {

namespace {

constexpr size_t kTables = 3;  // of the kernel
constexpr int kWidest = 2048;

bool supports(const std::vector<EmbeddingRows>& rows, const NormWeights& norm, mx::Dtype dtype) {
  const int H = int(norm.weight.size());
  return rows.size() <= kTables && dtype == mx::bfloat16 && H % 8 == 0 && H <= kWidest &&
         std::ranges::all_of(rows, [](const EmbeddingRows& r) { return cuda::is_bfloat16(r.table) && r.table.values.size() > 0; });
}

mx::Shape broadcast_shape(const std::vector<EmbeddingRows>& rows) {
  mx::Shape shape;
  for (const auto& r : rows) shape = mx::broadcast_shapes(shape, r.index.shape());
  return shape;
}

// The index of each position t is values[t % values.size()].
mx::array repeating(const mx::array& index, const mx::Shape& shape, mx::Stream s) {
  const auto integers = index.dtype() == mx::int32 || index.dtype() == mx::int64 ? index : mx::astype(index, mx::int32, s);
  auto trailing = index.shape();
  while (!trailing.empty() && trailing.front() == 1) trailing.erase(trailing.begin());
  const bool repeats = std::equal(trailing.rbegin(), trailing.rend(), shape.rbegin());
  return repeats ? integers : mx::broadcast_to(integers, shape, s);
}

}  // namespace

Backend::Array CudaBackend::embedding_norm(const std::vector<EmbeddingRows>& rows, const NormWeights& norm, mx::Dtype dtype,
                                           mx::Stream s) const {
  if (!supports(rows, norm, dtype)) return {};
  auto shape = broadcast_shape(rows);
  const int H = int(norm.weight.size()), T = std::accumulate(shape.begin(), shape.end(), 1, std::multiplies<>());
  if (T == 0) return {};
  const bool narrow = norm.weight.dtype() == mx::bfloat16 && norm.bias.dtype() == mx::bfloat16;
  auto vector = [&](const mx::array& a) { return mx::astype(a, narrow ? mx::bfloat16 : mx::float32, s); };

  std::vector<mx::array> inputs;
  cuda::Scalars counts;
  int wide = narrow ? 0 : 8;
  for (size_t i = 0; i < kTables; ++i) {
    const auto& r = rows[i < rows.size() ? i : 0];  // the kernel ignores those beyond rows.size()
    const auto index = repeating(r.index, shape, s);
    if (index.dtype() == mx::int64) wide |= 1 << i;
    inputs.insert(inputs.end(), {r.table.values, index});
    counts.insert(counts.end(), {r.table.values.shape(0), int(index.size())});
  }
  inputs.insert(inputs.end(), {vector(norm.weight), vector(norm.bias)});
  cuda::Scalars scalars{int(rows.size()), wide};
  scalars.insert(scalars.end(), counts.begin(), counts.end());
  scalars.insert(scalars.end(), {H, T, norm.eps});
  shape.push_back(H);
  const std::string name = H <= 768 ? "embedding_norm" : "embedding_norm_2048";
  const cuda::Launch launch{name, name, (T + 7) / 8, 1, 256};
  return cuda::run(launch, inputs, shape, mx::bfloat16, scalars, s);
}

}  // namespace m2bert::ops
