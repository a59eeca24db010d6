#pragma once
// Weights packed once for oneDNN, and matmuls of a few rows with them on the calling thread. Host memory only.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "m2bert/ops/backend/cpu/simd/host_dtype.h"
#include "m2bert/ops/backend/cpu/simd/profile_scope.h"

namespace m2bert::ops::cpu {

// A block-diagonal weight: `blocks` matrices [q, p], one after the other, with y_k = x_k weight_k^T. One block is a dense weight. Does not
// own its memory.
struct WeightView {
  const void* values;
  const float* scale;  // [blocks * q] for int8 weights, else null
  int blocks, q, p;
};

// A copy of `count` floats, empty if there are none, and the address of one of its values, null if it is empty: scales and biases of packed
// layers.
inline std::vector<float> copy_floats(const float* from, size_t count) {
  return from ? std::vector<float>(from, from + count) : std::vector<float>();
}
inline const float* at_or_null(const std::vector<float>& v, int i = 0) { return v.empty() ? nullptr : v.data() + i; }

// Whether oneDNN's int8 matmuls are exact on this CPU. Without VNNI it adds pairs of products in 16 bits, which overflow when large.
bool has_int8_gemm();

// One dense weight in the layout of the GEMM for it: oneDNN's, or row_gemm (gemm_simd.h). Immutable and thread-safe.
class PackedWeight {
 public:
  // weight [q, p], row-major; it is copied. bias: [q] or null; int8 weights have none. Throws if oneDNN has no matmul of this dtype on this
  // CPU; see has_bfloat16_gemm() and has_int8_gemm().
  PackedWeight(const void* weight, HostDtype dtype, int q, int p, const float* bias = nullptr);
  PackedWeight(PackedWeight&&) noexcept;
  ~PackedWeight();

  // y [rows, q] = x [rows, p] weight^T + bias. x has the weight's dtype; y has y_dtype: float32, or x's dtype (bfloat16 for int8). rows is
  // at most kTileRows (tile.h). Unless exact_rows(), x and y have memory for round_up(rows) rows. The bits of a row do not depend on the
  // other rows or their number. stage: what the time counts as in a profile. y_stride: values from a row of y to the next, only if
  // exact_rows(); 0: y is dense, as x always is.
  void matmul(int rows, const void* x, void* y, HostDtype y_dtype, ProfileStage stage, int y_stride = 0) const;
  // Whether matmul touches the given rows only.
  bool exact_rows() const;
  // matmul takes the same time for any number of rows up to the next multiple of this.
  int row_multiple() const;

  int q() const { return q_; }
  int p() const { return p_; }
  size_t bytes() const;

 private:
  struct Layout;
  std::unique_ptr<Layout> layout_;
  HostDtype dtype_;
  int q_, p_;
};

}  // namespace m2bert::ops::cpu
