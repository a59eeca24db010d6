#include "m2bert/ops/cu_seqlens.h"

#include <algorithm>

#include "m2bert/error.h"

namespace m2bert::ops {

CuSeqlens::CuSeqlens(std::vector<int> values) : values_(std::move(values)) { check(); }

CuSeqlens::CuSeqlens(const mx::array& values) {
  require(values.ndim() == 1 && (values.dtype() == mx::int32 || values.dtype() == mx::int64), "[cu_seqlens] the array is ", values.dtype(),
          " ", values.shape(), ", wants int32 [n + 1]");
  require(!values.is_tracer(), "[cu_seqlens] the array is traced; offsets are read on the host, so take it from outside the function");
  auto plain = mx::contiguous(mx::astype(values, mx::int32));
  plain.eval();
  values_.assign(plain.data<int>(), plain.data<int>() + plain.size());
  check();
}

void CuSeqlens::check() const {
  require(!values_.empty(), "[cu_seqlens] is empty, wants n + 1 offsets");
  require(values_[0] == 0, "[cu_seqlens] begins with ", values_[0], ", wants 0");
  for (size_t i = 1; i < values_.size(); ++i) {
    require(values_[i] >= values_[i - 1], "[cu_seqlens] descends from ", values_[i - 1], " to ", values_[i], " at ", i);
  }
}

int CuSeqlens::longest() const {
  int longest = 0;
  for (size_t i = 1; i < values_.size(); ++i) longest = std::max(longest, values_[i] - values_[i - 1]);
  return longest;
}

}  // namespace m2bert::ops
