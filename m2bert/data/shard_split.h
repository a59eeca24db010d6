#pragma once
// Dividing a data set that is there into training and validation data, shard by shard: m2bert data split.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace m2bert::data {

struct ShardSplitOptions {
  std::filesystem::path folder;  // of the data set, with its index.json
  std::filesystem::path out;
  std::string split = "train", val_split = "val";  // folders in `out`
  double val_fraction = 0;                         // the first floor((1 - fraction) * shards) shards train, the others validate; or:
  uint64_t val_shards = 0;                         // the last so many validate
  bool link = false;                               // hard links instead of copies
  bool overwrite = false;
  std::function<void(uint64_t bytes, uint64_t total)> progress;
};

struct ShardSplitResult {
  uint64_t shards = 0, samples = 0, val_shards = 0, val_samples = 0, bytes = 0;
};

// Each shard goes with what there is of it, packed, unpacked or both. Error: no index, a file is missing or has another size than the index
// says, one of the parts would be empty or lie in the data set's folder or replace it, links that the file system does not make.
ShardSplitResult split_shards(const ShardSplitOptions& options);

}  // namespace m2bert::data
