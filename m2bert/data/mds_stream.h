#pragma once
// An MDS data set in a local folder, or fetched into one shard by shard.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "m2bert/data/mds_index.h"
#include "m2bert/data/mds_shard.h"
#include "m2bert/data/remote_folder.h"

namespace m2bert::data {

struct MdsStreamConfig {
  std::string remote;  // folder or URL of the data set; empty: it is in `local`
  std::string local;   // folder of the data set, or of the shards fetched from `remote`; empty: the remote folder itself, or a cache
  std::string split;   // subfolder of both, such as train or val
  FetchOptions fetch;
  std::string validate_hash;  // hash that is verified when a shard is opened; empty: only sizes are checked
  bool validate_all = false;  // verify every supported hash that the index has
  bool keep_zip = false;      // keep the compressed file of a fetched shard after decompression
  bool keep_raw = true;       // keep decompressed shards; else decompress into memory, and remove fetched files after use
};

// Thread-safe.
class MdsStream {
 public:
  // Reads the index, fetching it if needed. Throws if folder, split or index do not exist, or if the kind of remote is not supported.
  explicit MdsStream(MdsStreamConfig config);

  const MdsIndex& index() const { return index_; }
  const std::filesystem::path& folder() const { return folder_; }
  bool is_remote() const { return remote_.has_value(); }  // shards are fetched

  // Fetches, verifies and decompresses the shard, skipping what was done before. Of several processes that share the folder one does the
  // work. Errors name the file.
  std::shared_ptr<const MdsShard> open(size_t shard) const;
  // Call when the shard is not needed any more in this epoch: without keep_raw its fetched file is removed.
  void release(size_t shard) const;

 private:
  void find_folder();
  template <class Open>
  std::shared_ptr<const MdsShard> open_or_remove(const std::filesystem::path& copy, Open open) const;
  std::filesystem::path raw_file(const MdsShardInfo& info) const { return folder_ / info.raw.name; }
  std::shared_ptr<const MdsShard> open_raw(const MdsShardInfo& info) const;
  std::shared_ptr<const MdsShard> make(const MdsShardInfo& info) const;
  std::shared_ptr<const MdsShard> unpack(const MdsShardInfo& info) const;
  void fetch(const MdsFile& file) const;
  void check_hash(const MdsFile& file, std::string_view content, const std::string& name) const;
  bool usable(const MdsFile& file) const;

  MdsStreamConfig config_;
  std::optional<RemoteFolder> remote_;  // absent: the data is in folder_ to begin with
  std::filesystem::path folder_;        // including the split
  bool writable_ = false;
  MdsIndex index_;
};

}  // namespace m2bert::data
