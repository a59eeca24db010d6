#pragma once
// The cache of huggingface_hub on disk, shared with it:
//   CACHE/models--org--name/refs/<revision>            the commit that a branch or tag meant last
//   CACHE/models--org--name/blobs/<etag>               content, once, whatever files have it
//   CACHE/models--org--name/snapshots/<commit>/<file>  a link to ../../blobs/<etag>
//   CACHE/.locks/models--org--name/<etag>.lock         held while a blob is written
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace m2bert::checkpoint {

// One repository's part of the cache. Every name that goes in is checked, and no folder on the way below folder() may be a link: nothing is
// written outside.
class HubCache {
 public:
  HubCache(std::filesystem::path cache, const std::string& repository);

  const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path snapshot(const std::string& commit) const;

  // The commit that a revision means, by what the cache knows; absent: it knows nothing, or what it knows is no commit.
  std::optional<std::string> commit_of(const std::string& revision) const;
  // Writes refs/<revision>; nothing for a revision that is a commit itself.
  void remember(const std::string& revision, const std::string& commit) const;

  // The blob that a snapshot's file leads to; absent: not there, or not a link to a blob.
  struct Blob {
    std::string etag;
    uint64_t size = 0;
    bool operator==(const Blob&) const = default;
  };
  std::optional<Blob> find(const std::string& commit, const std::string& file) const;

  // Makes the folders that are missing and returns where the blob and its lock belong.
  std::filesystem::path blob(const std::string& etag) const;
  std::filesystem::path lock(const std::string& etag) const;

  // Makes the snapshot's file lead to the blob, at once and in place of any other link.
  void link(const std::string& commit, const std::string& file, const std::string& etag) const;

 private:
  std::filesystem::path inside(const std::string& relative) const;
  std::filesystem::path cache_, folder_;
};

}  // namespace m2bert::checkpoint
