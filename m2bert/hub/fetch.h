#pragma once
// Downloading the files of one commit into the cache.
#include <string>
#include <vector>

#include "m2bert/hub/api.h"
#include "m2bert/hub/cache.h"
#include "m2bert/hub/snapshot.h"

namespace m2bert::hub {

// Puts the files of a commit into the cache, in this order, and returns them sorted by name. Skips files that are there. Checks each blob
// (size and checksum) before it gets its name, resumes interrupted downloads, and waits for other processes that write the same blob.
// Shows progress on stderr.
std::vector<File> fetch_files(Api& api, const Cache& cache, const std::string& commit, const std::vector<std::string>& names);

}  // namespace m2bert::hub
