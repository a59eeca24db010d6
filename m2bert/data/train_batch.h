#pragma once
// Batches for training as plain vectors, and where a run stands in its data.
#include <cstdint>
#include <optional>
#include <vector>

namespace m2bert::data {

// [rows, length], row after row. A short or damaged share may have fewer rows than asked for, or none.
struct TrainBatch {
  int rows = 0, length = 0;
  std::vector<int32_t> ids;
  std::vector<int32_t> mask;          // 1: a token, 0: padding
  std::vector<int32_t> labels;        // -100: not counted
  std::vector<int32_t> type_ids;      // empty: all 0
  std::vector<int32_t> sequence_ids;  // which of the texts that were joined in a row a token belongs to; empty: not told
};

// How the samples of an order are dealt out.
struct BatchShape {
  int global_batch = 1;  // rows of all ranks together
  int rank = 0, ranks = 1;
};

// The order of an epoch's samples depends on the data, seed and epoch alone: not on batch size or number of processes. So this
// is all that a resumed run needs.
struct DataPosition {
  uint64_t epoch = 0;
  uint64_t samples = 0;  // of this epoch's global order that were consumed
};

// This rank's share of each global batch.
class BatchSource {
 public:
  virtual ~BatchSource() = default;
  // nullopt: the epoch is over, for all ranks at the same call. Errors name the file or field.
  virtual std::optional<TrainBatch> next() = 0;
  // The next batch begins there; also starts an epoch.
  virtual void seek(const DataPosition& position) = 0;
  virtual uint64_t samples_per_epoch() const = 0;
  // Samples left out so far because they were damaged, where the source was told to go on.
  virtual uint64_t skipped() const { return 0; }
};

}  // namespace m2bert::data
