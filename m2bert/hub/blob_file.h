#pragma once
// The file that a blob is downloaded to. An interrupted download keeps it, and the next run resumes from it.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string_view>

#include "m2bert/error.h"
#include "m2bert/hub/api.h"
#include "m2bert/io/file.h"
#include "m2bert/io/http_client.h"

namespace m2bert::hub {

// The hub's file changed while it was downloaded.
class ChangedFile : public Error {
 public:
  using Error::Error;
};

class BlobFile : public io::HttpSink {
 public:
  // Opens the file, or creates it. What an earlier run left in it is kept, unless the file is a link or longer than the blob.
  // progress: called with the bytes so far. `remote` must outlive this.
  BlobFile(const std::filesystem::path& file, const RemoteFile& remote, std::function<void(uint64_t)> progress);
  ~BlobFile() override;  // removes an empty file
  BlobFile(const BlobFile&) = delete;
  BlobFile& operator=(const BlobFile&) = delete;

  uint64_t offset() const override { return file_.size(); }
  bool complete() const override { return !remote_.size || file_.size() == *remote_.size; }
  // Throws ChangedFile if the server now has another file, and an Error if it announces another size or range.
  void begin(const io::HttpResponse& response) override;
  void write(std::string_view bytes) override;

  // Whether it holds bytes of an earlier run.
  bool resumed() const { return resumed_; }
  void restart();
  // Whether size and checksum are right. Reads the file back, so that what is on disk is checked.
  bool correct() const;
  // Renames the file. Nothing more can be written.
  void finish(const std::filesystem::path& final_path) { file_.finish(final_path); }

 private:
  std::optional<uint64_t> total_of_range(const io::HttpResponse& response);

  const RemoteFile& remote_;
  io::GrowingFile file_;
  std::function<void(uint64_t)> progress_;
  bool resumed_;
};

}  // namespace m2bert::hub
