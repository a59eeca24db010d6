#pragma once
// Describes and verifies a data set (`m2bert data show`).
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "m2bert/data/mds_stream.h"

namespace m2bert::data {

struct MdsReport {
  uint64_t shards = 0, samples = 0, bytes = 0, packed_bytes = 0;
  uint64_t raw_here = 0, packed_here = 0;         // shards whose raw or compressed file is present
  std::map<std::string, std::string> columns;     // encoding by name; the first shard's, if they differ
  std::vector<std::string> compressions, hashes;  // that occur in the index
  uint64_t samples_checked = 0;
  std::vector<std::string> problems;  // at most 100
  uint64_t problem_count = 0;
};

// Checks the index and the file sizes. Shards of a remote data set that were not fetched are no problem.
MdsReport describe_mds(const MdsStream& stream);

// Also reads every shard, fetching it where needed, and verifies the checksums that the stream is configured to validate, the
// decompression, and every value of every sample. If the raw and the compressed file are both present, the raw one is read. progress:
// samples done.
MdsReport check_mds(const MdsStream& stream, const std::function<void(uint64_t)>& progress);

}  // namespace m2bert::data
