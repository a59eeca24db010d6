#pragma once
// The files of a repository at one commit.
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "m2bert/hub/cache.h"
#include "m2bert/hub/model_name.h"

namespace m2bert::hub {

struct File {
  std::string name;
  std::string etag;
  uint64_t size = 0;
  bool fetched = false;  // by this call; false if the cache had it
};

struct Snapshot {
  std::string repository, revision, commit;
  std::filesystem::path folder;  // snapshots/<commit>
  std::vector<File> files;       // sorted by name
};

void sort_by_name(std::vector<File>& files);

// What the cache has of a commit: links to blobs, and plain files (with an empty etag), as on a file system without links.
Snapshot cached_snapshot(const ModelName& name, const Cache& cache, const std::string& commit);

}  // namespace m2bert::hub
