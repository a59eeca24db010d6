#include "m2bert/hub/snapshot.h"

#include <algorithm>

namespace m2bert::hub {

void sort_by_name(std::vector<File>& files) {
  std::sort(files.begin(), files.end(), [](const File& a, const File& b) { return a.name < b.name; });
}

Snapshot cached_snapshot(const ModelName& name, const Cache& cache, const std::string& commit) {
  Snapshot snapshot{.repository = name.repository, .revision = name.revision, .commit = commit, .folder = cache.snapshot(commit)};
  for (const auto& entry : std::filesystem::recursive_directory_iterator(snapshot.folder)) {
    const std::string file = entry.path().lexically_relative(snapshot.folder).string();
    if (const auto blob = cache.find(commit, file)) snapshot.files.push_back({file, blob->etag, blob->size, false});
    else if (!entry.is_symlink() && entry.is_regular_file()) snapshot.files.push_back({file, "", entry.file_size(), false});
  }
  sort_by_name(snapshot.files);
  return snapshot;
}

}  // namespace m2bert::hub
