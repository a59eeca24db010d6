#pragma once
// Writes one folder of a data set. Full shards are compressed and written by background threads while the next one fills.
#include <cstdint>
#include <deque>
#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <string_view>

#include "m2bert/data/mds_writer.h"
#include "m2bert/io/file.h"
#include "m2bert/io/tree.h"

namespace m2bert::data {

class DatasetOutput {
 public:
  // pending: path prefix of the files that hold the samples of an unfinished shard; they may be removed once the folder is finished.
  // At most `threads` shards are written at a time. format: a complete one, as mds_format() returns it.
  DatasetOutput(std::filesystem::path folder, std::filesystem::path pending, MdsFormat format, int threads);

  // sample: as encode_mds_sample() returns it. Rethrows an exception of a background write.
  void add(std::string_view sample);
  uint64_t samples() const { return samples_; }
  uint64_t shards() const { return index_.shards.size() + writing_.size(); }

  // Waits for background writes, syncs the samples of the unfinished shard to disk, and returns a state from which restore() resumes in a
  // new object on the same folder. Call saved() once this state has replaced the earlier one: it removes files that only that one needed.
  io::Tree save();
  void saved();
  void restore(const io::Tree& state);

  // Writes the last shard and the index.
  const MdsIndex& finish();

 private:
  void submit();
  void collect(size_t most);
  std::filesystem::path pending_file(size_t shard) const;

  std::filesystem::path folder_, pending_prefix_;
  MdsFormat format_;
  size_t threads_;
  MdsShardContent content_;
  MdsIndex index_;
  std::deque<std::future<MdsShardInfo>> writing_;
  uint64_t samples_ = 0;
  std::string unsaved_;  // samples that are not in the file of pending samples yet, each prefixed with its size
  std::unique_ptr<io::GrowingFile> pending_;
  std::vector<std::filesystem::path> outdated_;
};

}  // namespace m2bert::data
