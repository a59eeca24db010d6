#pragma once
// What a data set holds, and whether it is whole: m2bert data show.
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "m2bert/data/mds_stream.h"

namespace m2bert::data {

struct MdsReport {
  uint64_t shards = 0, samples = 0, bytes = 0, packed_bytes = 0;
  uint64_t raw_here = 0, packed_here = 0;         // shards whose file is there, unpacked and packed
  std::map<std::string, std::string> columns;     // encoding by name; of several shards with several encodings the first
  std::vector<std::string> compressions, hashes;  // that occur
  uint64_t samples_checked = 0;
  std::vector<std::string> problems;  // at most 100
  uint64_t problem_count = 0;
};

// By the index and the sizes of the files. Shards of a remote data set that are not here are no problem.
MdsReport describe_mds(const MdsStream& stream);

// Also reads every shard (fetching it where needed; of a shard that is here unpacked and packed the former): its checksums as far as the
// stream was told to validate them, unpacking, every value of every sample. progress: samples done.
MdsReport check_mds(const MdsStream& stream, const std::function<void(uint64_t)>& progress);

}  // namespace m2bert::data
