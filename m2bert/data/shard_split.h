#pragma once
// Splits an existing data set into training and validation data, shard by shard (`m2bert data split`).
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace m2bert::data {

struct ShardSplitOptions {
  std::filesystem::path folder;  // of the data set, with its index.json
  std::filesystem::path out;
  std::string split = "train", val_split = "val";  // folders in `out`
  double val_fraction = 0;                         // the first floor((1 - fraction) * shards) shards train, the rest validate; or:
  uint64_t val_shards = 0;                         // the number of shards that validate, the last ones
  bool link = false;                               // make hard links instead of copies
  bool overwrite = false;
  std::function<void(uint64_t bytes, uint64_t total)> progress;
};

struct ShardSplitResult {
  uint64_t shards = 0, samples = 0, val_shards = 0, val_samples = 0, bytes = 0;
};

// Copies the files of each shard that exist: raw, compressed or both. Throws if there is no index, if a file is missing or its size differs
// from the index, if a part would be empty, lie in the data set's folder or replace it, or if hard links are not possible.
ShardSplitResult split_shards(const ShardSplitOptions& options);

}  // namespace m2bert::data
