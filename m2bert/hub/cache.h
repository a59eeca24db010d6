#pragma once
// The on-disk cache of huggingface_hub, which both programs share:
//   CACHE/models--org--name/refs/<revision>            the commit that a branch or tag last pointed to
//   CACHE/models--org--name/blobs/<etag>               content, stored once for all files that have it
//   CACHE/models--org--name/snapshots/<commit>/<file>  a link to ../../blobs/<etag>
//   CACHE/.locks/models--org--name/<etag>.lock         held while a blob is written
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace m2bert::hub {

// One repository's part of the cache. Every name is checked, and no folder below folder() may be a link, so that nothing is written
// outside.
class Cache {
 public:
  Cache(std::filesystem::path cache, const std::string& repository);

  const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path snapshot(const std::string& commit) const;

  // The commit that a revision points to according to the cache; nullopt if the cache has no ref, or one that is not a commit.
  std::optional<std::string> commit_of(const std::string& revision) const;
  // Writes refs/<revision>. Does nothing if the revision is itself a commit.
  void write_ref(const std::string& revision, const std::string& commit) const;

  // The blob that a snapshot's file links to; nullopt if the file is missing or not a link to a blob.
  struct Blob {
    std::string etag;
    uint64_t size = 0;
    bool operator==(const Blob&) const = default;
  };
  std::optional<Blob> find(const std::string& commit, const std::string& file) const;

  // The paths of a blob and of its lock. Creates the missing folders.
  std::filesystem::path blob(const std::string& etag) const;
  std::filesystem::path lock(const std::string& etag) const;

  // Links the snapshot's file to the blob, atomically replacing any other link.
  void link(const std::string& commit, const std::string& file, const std::string& etag) const;

 private:
  std::filesystem::path create_parents(const std::string& relative) const;
  std::filesystem::path cache_, folder_;
};

}  // namespace m2bert::hub
