#pragma once
// A folder that files are fetched from: on this machine, or behind an http or https address.
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

namespace m2bert::data {

struct FetchOptions {
  int attempts = 3;
  std::chrono::seconds timeout{60};  // to connect, and without data
  std::function<bool()> stopped;     // asked with every piece: true gives up with an Error. Any thread
};

class RemoteFolder {
 public:
  // "/a/folder", "file:///a/folder" or "https://host/a/folder". Error for other kinds of places (s3://, gs://, hf://, ...).
  RemoteFolder(std::string place, FetchOptions options);

  // The folder, where it is one of this machine.
  const std::optional<std::filesystem::path>& folder() const { return folder_; }
  // "PLACE/NAME", safe to print.
  std::string shown(const std::string& name) const;

  // Brings a file to `to`, whose folder is made. bytes: what it must have; absent: at most 2 GiB. Any thread; two fetches to one place at
  // the same time must be kept apart by the caller. What came over a network stays in TO.part if it breaks off, and the next fetch goes on
  // from there. Error: it is not there, cannot be read, or has another size.
  void fetch(const std::string& name, const std::filesystem::path& to, std::optional<uint64_t> bytes) const;

 private:
  void copy(const std::string& name, const std::filesystem::path& to, std::optional<uint64_t> bytes) const;
  void download(const std::string& name, const std::filesystem::path& to, std::optional<uint64_t> bytes) const;
  std::string place_;
  std::optional<std::filesystem::path> folder_;
  FetchOptions options_;
};

// Makes the folder that a file is to lie in.
void make_folder_of(const std::filesystem::path& file);

}  // namespace m2bert::data
