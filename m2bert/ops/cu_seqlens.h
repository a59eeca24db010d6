#pragma once
// Sequences of different lengths as rows without padding, one after the other. padding.h makes them from a padded batch.
#include <vector>

#include "m2bert/mx.h"

namespace m2bert::ops {

// The offsets of sequences in rows without padding: [n + 1], from 0, ascending; sequence b is rows values()[b] ... values()[b + 1] - 1 and
// may be empty. Throws Error for other values.
class CuSeqlens {
 public:
  CuSeqlens(std::vector<int> values);  // NOLINT: Unpadding::cu_seqlens is one
  CuSeqlens(const mx::array& values);  // NOLINT: [n + 1] int32 or int64; evaluated here, so it cannot be traced
  const std::vector<int>& values() const { return values_; }
  int sequences() const { return int(values_.size()) - 1; }
  int longest() const;

 private:
  void check() const;
  std::vector<int> values_;
};

}  // namespace m2bert::ops
