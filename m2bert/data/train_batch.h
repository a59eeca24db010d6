#pragma once
#include <cstdint>
#include <optional>
#include <vector>

namespace m2bert::data {

struct TrainBatch {
  int rows = 0, length = 0;
  std::vector<int32_t> ids, mask, labels, type_ids;
};

struct DataPosition {
  int64_t epoch = 0, samples = 0;
};

class BatchSource {
 public:
  virtual ~BatchSource() = default;
  virtual std::optional<TrainBatch> next() = 0;
  virtual void seek(const DataPosition& position) = 0;
  virtual int64_t samples_per_epoch() const = 0;
};

}  // namespace m2bert::data
