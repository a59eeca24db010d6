#include "m2bert/data/shard_split.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "m2bert/data/mds_index.h"
#include "m2bert/data/mds_writer.h"
#include "m2bert/data/remote_folder.h"
#include "m2bert/data/staging_folder.h"
#include "m2bert/error.h"
#include "m2bert/io/file.h"

namespace m2bert::data {
namespace {

namespace fs = std::filesystem;

// The existing files of a shard.
std::vector<const MdsFile*> files_of(const fs::path& folder, const MdsShardInfo& shard) {
  std::vector<const MdsFile*> files;
  for (const MdsFile* file : {&shard.raw, shard.packed ? &*shard.packed : nullptr}) {
    std::error_code none;
    if (!file || !fs::is_regular_file(folder / file->name, none)) continue;
    const uint64_t bytes = fs::file_size(folder / file->name, none);
    require(bytes == file->bytes, (folder / file->name).string(), ": has ", bytes, " bytes, its index says ", file->bytes);
    files.push_back(file);
  }
  require(!files.empty(), (folder / shard.raw.name).string(), ": no such file; its index lists it");
  return files;
}

size_t training_shards(const ShardSplitOptions& options, size_t shards) {
  require((options.val_fraction > 0) != (options.val_shards > 0),
          "say how much is for validation: a fraction above 0, or a number of shards");
  require(options.val_fraction >= 0 && options.val_fraction < 1, "validation fraction ", options.val_fraction,
          ": wants more than 0 and less than 1");
  const double fraction_trains = std::floor((1 - options.val_fraction) * static_cast<double>(shards));
  const size_t train =
      options.val_shards > 0 ? shards - std::min<uint64_t>(options.val_shards, shards) : static_cast<size_t>(fraction_trains);
  require(train > 0 && train < shards, options.folder.string(), ": has ", shards, " shards, of which ", train, " would train and ",
          shards - train,
          " validate; both need at least one. `m2bert data build` divides by documents, and --shard-size makes more shards");
  return train;
}

class Mover {
 public:
  Mover(const ShardSplitOptions& options, uint64_t total) : options_(options), total_(total), source_(options.folder.string(), {}) {}

  void move(const MdsShardInfo& shard, const fs::path& to) {
    for (const MdsFile* file : files_of(options_.folder, shard)) {
      const fs::path target = to / file->name;
      if (options_.link) link(options_.folder / file->name, target);
      else source_.fetch(file->name, target, file->bytes);
      done_ += file->bytes;
      if (options_.progress) options_.progress(done_, total_);
    }
  }

 private:
  static void link(const fs::path& from, const fs::path& to) {
    make_folder_of(to);
    std::error_code failed;
    fs::create_hard_link(fs::canonical(from), to, failed);
    require(!failed, to.string(), ": cannot be linked to ", from.string(), ": ", failed.message(), "; leave --link out to copy");
  }
  const ShardSplitOptions& options_;
  uint64_t total_, done_ = 0;
  RemoteFolder source_;
};

void require_apart(const ShardSplitOptions& options) {
  for (const std::string& name : {options.split, options.val_split}) {
    const fs::path target = options.out / name;
    require(!io::is_inside(target, options.folder) && !io::is_inside(options.folder, target), target.string(),
            ": would be written into the data set that is divided, ", options.folder.string(), "; name another folder");
  }
}

// Throws without an index, and lists the data sets in the subfolders.
void require_index(const fs::path& folder) {
  std::error_code none;
  if (fs::exists(folder / kMdsIndex, none)) return;
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator(folder, none))
    if (fs::is_regular_file(entry.path() / kMdsIndex, none)) found.push_back(entry.path().string());
  std::sort(found.begin(), found.end());
  std::string names;
  for (const std::string& name : found) names += (names.empty() ? "" : " or ") + name;
  require(found.empty(), (folder / kMdsIndex).string(), ": no such file; name one data set: ", names);
}

io::Tree settings_of(const ShardSplitOptions& options) {
  return {{"folder", fs::absolute(options.folder).string()}, {"val_fraction", options.val_fraction}, {"val_shards", options.val_shards}};
}

}  // namespace

ShardSplitResult split_shards(const ShardSplitOptions& options) {
  require(options.split != options.val_split, "training and validation data need different names, both are ", options.split);
  require_index(options.folder);
  const MdsIndex index = read_mds_index(options.folder / kMdsIndex);
  require_apart(options);
  const size_t train = training_shards(options, index.shards.size());
  ShardSplitResult result;
  for (const MdsShardInfo& shard : index.shards)
    for (const MdsFile* file : files_of(options.folder, shard)) result.bytes += file->bytes;
  StagingFolder part(options.out, {options.split, options.val_split}, settings_of(options), {.overwrite = options.overwrite});
  Mover mover(options, result.bytes);
  MdsIndex parts[2];
  for (size_t i = 0; i < index.shards.size(); ++i) {
    const bool validates = i >= train;
    mover.move(index.shards[i], part.staged(validates ? options.val_split : options.split));
    parts[validates].shards.push_back(index.shards[i]);
  }
  write_mds_index(part.staged(options.split), parts[0]);
  write_mds_index(part.staged(options.val_split), parts[1]);
  result.shards = train;
  result.val_shards = index.shards.size() - train;
  result.samples = parts[0].samples();
  result.val_samples = parts[1].samples();
  part.finish({{"shards", result.shards}, {"val_shards", result.val_shards}});
  return result;
}

}  // namespace m2bert::data
