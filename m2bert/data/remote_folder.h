#pragma once
// A folder from which files are fetched: local, or behind an http or https URL.
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

namespace m2bert::data {

struct FetchOptions {
  int attempts = 3;
  std::chrono::seconds timeout{60};  // for connecting, and for a stalled transfer
  std::function<bool()> stopped;     // polled during a transfer: true aborts it with an Error. Thread-safe
};

class RemoteFolder {
 public:
  // "/a/folder", "file:///a/folder" or "https://host/a/folder". Throws for other schemes (s3://, gs://, hf://, ...).
  RemoteFolder(std::string place, FetchOptions options);

  // The path, if the folder is local.
  const std::optional<std::filesystem::path>& folder() const { return folder_; }
  // "PLACE/NAME", safe to print.
  std::string shown(const std::string& name) const;

  // Copies or downloads a file to `to`, creating its folder. bytes: the required size; absent: at most 2 GiB. Thread-safe, but the caller
  // must not fetch to one path twice at the same time. An interrupted download stays in TO.part, and the next fetch resumes it. Throws if
  // the file is missing, unreadable, or of another size.
  void fetch(const std::string& name, const std::filesystem::path& to, std::optional<uint64_t> bytes) const;

 private:
  void copy(const std::string& name, const std::filesystem::path& to, std::optional<uint64_t> bytes) const;
  void download(const std::string& name, const std::filesystem::path& to, std::optional<uint64_t> bytes) const;
  std::string place_;
  std::optional<std::filesystem::path> folder_;
  FetchOptions options_;
};

// Creates the parent folder of a file.
void make_folder_of(const std::filesystem::path& file);

}  // namespace m2bert::data
