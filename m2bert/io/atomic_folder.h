#pragma once
// A folder that appears whole or not at all.
#include <filesystem>
#include <string>
#include <vector>

namespace m2bert::io {

// Collects files in a temporary folder beside the final one; commit() gives it the final name. An existing folder is replaced as a whole:
// its files are removed, and whenever the program is killed, the old folder or the new one has the name (on a file system that cannot
// exchange two folders, the old one may then be beside it, with the ending -old). Without commit() the temporary folder is removed, also
// when a signal ends the program through io/interrupt.h.
class AtomicFolder {
 public:
  // A link is followed: the folder it points at is replaced. The folders around it are made. Throws if they cannot be written.
  explicit AtomicFolder(const std::filesystem::path& final_path);
  ~AtomicFolder();
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;

  // Where the files are until commit().
  const std::filesystem::path& path() const { return temporary_; }
  // Where to write a file of the folder. The folders in between are made. Throws if they cannot be.
  std::filesystem::path file(const std::filesystem::path& relative);
  // Throws if the folder cannot be renamed; the old one is then in place.
  void commit();

 private:
  void make(const std::filesystem::path& folder);
  void remember(const std::filesystem::path& path);
  void remove() noexcept;
  std::filesystem::path final_, temporary_;
  std::vector<std::string> remembered_;  // see io/temporaries.h
  bool committed_ = false;
};

}  // namespace m2bert::io
