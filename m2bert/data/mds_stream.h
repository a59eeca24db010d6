#pragma once
// An MDS data set in a folder, or fetched shard by shard from another place into one.
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
  std::string remote;  // folder or address of the data set; empty: it is in `local`
  std::string local;   // folder of the data set, or of what was fetched from `remote`; empty: the remote folder itself, or a cache
  std::string split;   // folder inside both: train, val
  FetchOptions fetch;
  std::string validate_hash;  // algorithm by which each shard is checked when it is opened; empty: sizes alone
  bool validate_all = false;  // by every algorithm that the index has for a file and that is known here
  bool keep_zip = false;      // fetched shards stay in their packed form after they were unpacked
  bool keep_raw = true;  // unpacked shards are kept beside the packed ones; else they are unpacked in memory, and what was fetched goes
};

// Any thread.
class MdsStream {
 public:
  // Reads the index, fetching it where it is not there yet. Error: no such folder, split or index; a remote place that is not read.
  explicit MdsStream(MdsStreamConfig config);

  const MdsIndex& index() const { return index_; }
  const std::filesystem::path& folder() const { return folder_; }
  bool is_remote() const { return remote_.has_value(); }  // shards come from elsewhere

  // Fetches, checks and unpacks the shard as far as that is not done yet. Processes that share the folder do this once together.
  // Errors name the file.
  std::shared_ptr<const MdsShard> open(size_t shard) const;
  // The shard is not needed any more in this epoch: without keep_raw what was fetched of it is removed.
  void release(size_t shard) const;

 private:
  void find_folder();
  template <class Open>
  std::shared_ptr<const MdsShard> or_remove(const std::filesystem::path& copy, Open open) const;
  std::filesystem::path raw_file(const MdsShardInfo& info) const { return folder_ / info.raw.name; }
  std::shared_ptr<const MdsShard> open_raw(const MdsShardInfo& info) const;
  std::shared_ptr<const MdsShard> make(const MdsShardInfo& info) const;
  std::shared_ptr<const MdsShard> unpack(const MdsShardInfo& info) const;
  void fetch(const MdsFile& file) const;
  void check_hash(const MdsFile& file, std::string_view content, const std::string& name) const;
  bool usable(const MdsFile& file) const;

  MdsStreamConfig config_;
  std::optional<RemoteFolder> remote_;  // absent: the folder is where the data comes from
  std::filesystem::path folder_;        // with the split
  bool writable_ = false;
  MdsIndex index_;
};

}  // namespace m2bert::data
