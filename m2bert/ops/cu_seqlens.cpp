#include "m2bert/ops/cu_seqlens.h"

#include <algorithm>
#include <numeric>

#include "m2bert/error.h"
#include "m2bert/ops/host_array.h"

namespace m2bert::ops {

CuSeqlens::CuSeqlens(std::vector<int> values) : values_(std::move(values)) { check(); }

CuSeqlens::CuSeqlens(std::vector<int> values, std::vector<int> lengths) : values_(std::move(values)), lengths_(std::move(lengths)) {
  check();
  require(int(lengths_.size()) == sequences(), "[cu_seqlens] there are ", lengths_.size(), " lengths for ", sequences(), " sequences");
  for (int b = 0; b < sequences(); ++b) {
    require(length(b) >= 0 && begin(b) + length(b) <= begin(b + 1), "[cu_seqlens] sequence ", b, " has ", length(b), " rows from ",
            begin(b), " on, the next one begins at ", begin(b + 1));
  }
}

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
  for (int b = 0; b < sequences(); ++b) longest = std::max(longest, length(b));
  return longest;
}

bool CuSeqlens::has_unused_rows() const {
  return std::accumulate(lengths_.begin(), lengths_.end(), 0) != (lengths_.empty() ? 0 : values_.back());
}

const mx::array& CuSeqlens::table() const {
  if (table_) return *table_;
  std::vector<int32_t> values;
  for (int b = 0; b < sequences(); ++b) values.insert(values.end(), {begin(b), length(b)});
  values.push_back(values_.back());
  return table_.emplace(host_array(values.data(), {int(values.size())}));
}

}  // namespace m2bert::ops
