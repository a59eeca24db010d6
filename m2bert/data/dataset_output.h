#pragma once
// One folder of a data set that is being built: shards are packed and written by threads of their own while the next one fills.
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
  // pending: how the files begin that hold samples of an unfinished shard; they may go when the folder is finished. At most `threads`
  // shards are written at a time. The format is a finished one (mds_format).
  DatasetOutput(std::filesystem::path folder, std::filesystem::path pending, MdsFormat format, int threads);

  // A sample as encode_mds_sample() makes it. Rethrows what the writing of an earlier shard threw.
  void add(std::string_view sample);
  uint64_t samples() const { return samples_; }
  uint64_t shards() const { return index_.shards.size() + writing_.size(); }

  // Waits for the shards that are being written, brings the samples of the unfinished one to disk, and says what there is: restore() goes
  // on with it, in a new object on the same folder. saved() is called when nothing will go on from an earlier state any more.
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
  std::string unsaved_;  // samples of the unfinished shard that are not in its file of pending samples yet, each after its size
  std::unique_ptr<io::GrowingFile> pending_;
  std::vector<std::filesystem::path> outdated_;
};

}  // namespace m2bert::data
