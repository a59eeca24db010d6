#pragma once
// Sequences of different lengths as rows without padding, one after the other. padding.h makes them from a padded batch.
#include <optional>
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::ops {

// The offsets of sequences in rows without padding: [n + 1], from 0, ascending; sequence b is rows values()[b] ... values()[b + 1] - 1 and
// may be empty. Throws Error for other values.
class CuSeqlens {
 public:
  CuSeqlens(std::vector<int> values);  // NOLINT: Unpadding::cu_seqlens is one
  CuSeqlens(const mx::array& values);  // NOLINT: [n + 1] int32 or int64; evaluated here, so it cannot be traced
  // Sequences that end before the next one begins: sequence b has lengths[b] rows, and those behind it are unused.
  CuSeqlens(std::vector<int> values, std::vector<int> lengths);
  const std::vector<int>& values() const { return values_; }
  int sequences() const { return int(values_.size()) - 1; }
  int begin(int b) const { return values_[size_t(b)]; }
  int length(int b) const { return lengths_.empty() ? values_[size_t(b) + 1] - begin(b) : lengths_[size_t(b)]; }
  int longest() const;
  bool has_unused_rows() const;

  // For kernels of other devices, [2 n + 1] int32: begin and length of each, then the end. Made once; not thread-safe.
  const mx::array& table() const;

 private:
  void check() const;
  std::vector<int> values_, lengths_;
  mutable std::optional<mx::array> table_;
};

}  // namespace m2bert::ops
