#pragma once
// Writing MDS data sets: samples to the content of shards, shards to files, and the index behind them.
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
  std::vector<MdsColumn> columns;                          // by name, as the format wants them; see mds_format()
  std::string compression;                                 // "zstd", "zstd:19", "gz", ...; empty: none
  std::vector<std::string> hashes;                         // sorted: "sha1", "xxh64", ...
  std::optional<uint64_t> size_limit = uint64_t{1} << 26;  // bytes of an unpacked shard; absent: one shard
};

// Puts columns (name, encoding) and hashes in order and fills in fixed sizes. Error: two columns of one name, or none; an encoding,
// compression or hash that is not known; a size limit of 4 GiB or more.
MdsFormat mds_format(MdsFormat format);

// A sample's bytes; values in the order of the format's columns. where: for errors.
std::string encode_mds_sample(const MdsFormat& format, const std::vector<MdsValue>& values, const std::string& where);

// The samples of the shard that is being filled.
class MdsShardContent {
 public:
  explicit MdsShardContent(const MdsFormat& format);
  // Whether a sample of that many bytes may come in. A first sample always may, so that a large one has a shard for itself.
  bool fits(uint64_t bytes) const;
  // Error: the shard grows to 4 GiB.
  void add(std::string_view sample);
  uint64_t samples() const { return ends_.size(); }
  // The finished content; afterwards this is empty.
  std::string take();

 private:
  std::string header_;
  std::optional<uint64_t> limit_;
  std::string samples_;
  std::vector<uint64_t> ends_;
};

// Hashes, packs and writes a shard of that content: FOLDER/shard.00012.mds or .mds.zstd. Atomic. Different shards may be written side by
// side.
MdsShardInfo write_mds_shard(const std::filesystem::path& folder, size_t number, const MdsFormat& format, std::string_view content,
                             uint64_t samples);
// Writes FOLDER/index.json. Atomic.
void write_mds_index(const std::filesystem::path& folder, const MdsIndex& index);

// All of it, one sample after another.
class MdsWriter {
 public:
  // The folder is made; Error if it holds an index already.
  MdsWriter(std::filesystem::path folder, const MdsFormat& format);
  void write(const std::vector<MdsValue>& values);
  // Writes the last shard and the index; without it there is no index.
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
