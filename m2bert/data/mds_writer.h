#pragma once
// Writes MDS data sets: samples, shards, and the index.
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "m2bert/data/mds_encoding.h"
#include "m2bert/data/mds_index.h"

namespace m2bert::data {

struct MdsFormat {
  std::vector<MdsColumn> columns;                          // sorted by name, as the format requires; see mds_format()
  std::string compression;                                 // "zstd", "zstd:19", "gz", ...; empty: none
  std::vector<std::string> hashes;                         // sorted: "sha1", "xxh64", ...
  std::optional<uint64_t> size_limit = uint64_t{1} << 26;  // uncompressed bytes of a shard; absent: one shard for all
};

// Sorts columns (name, encoding) and hashes and fills in fixed sizes. Throws for duplicate or no columns, for an unknown encoding,
// compression or hash, and for a size limit of 4 GiB or more.
MdsFormat mds_format(MdsFormat format);

// Serializes a sample. values: in the order of the format's columns; where: for errors.
std::string encode_mds_sample(const MdsFormat& format, const std::vector<MdsValue>& values, const std::string& where);

// Collects the samples of one shard in memory.
class MdsShardContent {
 public:
  explicit MdsShardContent(const MdsFormat& format);
  // Whether a sample of that size fits. The first one always does, so that an oversized sample gets a shard of its own.
  bool fits(uint64_t bytes) const;
  // Throws if the shard reaches 4 GiB.
  void add(std::string_view sample);
  uint64_t samples() const { return ends_.size(); }
  // Returns the content of the shard and starts an empty one.
  std::string take();

 private:
  std::string header_;
  std::optional<uint64_t> limit_;
  std::string samples_;
  std::vector<uint64_t> ends_;
};

// Hashes, compresses and writes a shard: FOLDER/shard.00012.mds or .mds.zstd. Atomic. Different shards may be written concurrently.
MdsShardInfo write_mds_shard(const std::filesystem::path& folder, size_t number, const MdsFormat& format, std::string_view content,
                             uint64_t samples);
// Writes FOLDER/index.json. Atomic.
void write_mds_index(const std::filesystem::path& folder, const MdsIndex& index);

// Writes a whole data set, sample by sample.
class MdsWriter {
 public:
  // Creates the folder. Throws if it has an index already.
  MdsWriter(std::filesystem::path folder, const MdsFormat& format);
  void write(const std::vector<MdsValue>& values);
  // Writes the last shard and the index. Without this call the folder has no index.
  MdsIndex finish();

 private:
  void flush();
  std::filesystem::path folder_;
  MdsFormat format_;
  MdsShardContent content_;
  MdsIndex index_;
  uint64_t written_ = 0;
};

}  // namespace m2bert::data
