#pragma once
// Where training takes its batches from, and the position of a run in its data.
#include <cstdint>
#include <optional>

#include "m2bert/data/batch.h"

namespace m2bert::data {

// How samples are divided into batches.
struct BatchShape {
  int global_batch = 1;  // rows of all ranks together
  int rank = 0, ranks = 1;
};

// The order of an epoch's samples depends on the data, the seed and the epoch alone, not on the batch size or the number of processes. So
// this is all that a run needs to resume.
struct DataPosition {
  uint64_t epoch = 0;
  uint64_t samples = 0;  // of this epoch's global order that were consumed
};

// This rank's share of each global batch. A short or damaged share may have fewer rows than asked for, or none.
class BatchSource {
 public:
  virtual ~BatchSource() = default;
  // nullopt: the epoch is over, for all ranks at the same call. Errors name the file or field.
  virtual std::optional<Batch> next() = 0;
  // The next batch starts there; also starts an epoch.
  virtual void seek(const DataPosition& position) = 0;
  virtual uint64_t samples_per_epoch() const = 0;
  // Damaged samples skipped so far, where the source was told to skip them.
  virtual uint64_t skipped() const { return 0; }
};

}  // namespace m2bert::data
