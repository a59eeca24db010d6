#pragma once
// Makes the index of an MDS data set anew from its shards, for one that was lost.
#include <filesystem>
#include <functional>

#include "m2bert/data/mds_index.h"

namespace m2bert::data {

// Reads every shard of the folder (shard.00000.mds, shard.00001.mds.zstd, ...), which describes its columns, checks it, and computes sizes
// and checksums. The index is not written. progress: shards done, and their number. Throws if the folder has no shards, if a number between
// them is missing, or if a shard is damaged; names the file.
MdsIndex rebuild_mds_index(const std::filesystem::path& folder, const std::function<void(size_t, size_t)>& progress = {});

}  // namespace m2bert::data
