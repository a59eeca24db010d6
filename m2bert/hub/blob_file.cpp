#include "m2bert/hub/blob_file.h"

#include <algorithm>
#include <string>

#include "m2bert/hub/etag.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/utf8.h"

namespace m2bert::hub {
namespace {

namespace fs = std::filesystem;

// The size of what an earlier run left; 0 if nothing of it is usable. Removes a file that is not a regular one.
uint64_t usable_size(const fs::path& file, const RemoteFile& remote) {
  const auto kind = fs::symlink_status(file).type();
  if (kind != fs::file_type::regular && kind != fs::file_type::not_found) fs::remove(file);
  if (kind != fs::file_type::regular) return 0;
  const uint64_t size = fs::file_size(file);
  return remote.size && size <= *remote.size ? size : 0;
}

}  // namespace

BlobFile::BlobFile(const fs::path& file, const RemoteFile& remote, std::function<void(uint64_t)> progress)
    : remote_(remote), file_(file, usable_size(file, remote)), progress_(std::move(progress)), resumed_(file_.size() > 0) {}

BlobFile::~BlobFile() {
  std::error_code none;
  if (file_.size() == 0) fs::remove(file_.path(), none);
}

void BlobFile::restart() {
  file_.truncate(0);
  resumed_ = false;
}

void BlobFile::begin(const io::HttpResponse& response) {
  const std::string* etag = response.first_header("x-linked-etag");
  if (!etag && !response.first_header("location")) etag = response.header("etag");
  if (etag && parse_etag(*etag, remote_.name) != remote_.etag)
    throw ChangedFile(remote_.name + ": changed on the hub while it was downloaded");
  const bool partial = response.status == 206;
  const auto size = partial ? total_of_range(response) : io::header_number(response.header("content-length"));
  require(!size || !remote_.size || *size == *remote_.size, remote_.name, ": ", io::shown_url(response.url), " has ", size.value_or(0),
          " bytes of it, while the hub says ", remote_.size.value_or(0));
  if (!partial && file_.size() > 0) restart();  // the server does not support ranges
}

// The total in "bytes 5-9/10". Error if the range is not the one that was requested.
std::optional<uint64_t> BlobFile::total_of_range(const io::HttpResponse& response) {
  const std::string* range = response.header("content-range");
  const std::string text = range ? *range : "";
  const uint64_t offset = file_.size();
  if (!text.starts_with("bytes " + std::to_string(offset) + "-")) {
    file_.truncate(0);
    fail(remote_.name, ": the server was asked for the bytes from ", offset, " on and answers with '", io::printable(text),
         "'; the partial download was discarded, try again");
  }
  const std::string total = text.substr(std::min(text.find('/'), text.size() - 1) + 1);
  return io::header_number(&total);
}

void BlobFile::write(std::string_view bytes) {
  require(!remote_.size || bytes.size() <= *remote_.size - file_.size(), remote_.name, ": the server sends more than its ",
          remote_.size.value_or(0), " bytes");
  file_.append(bytes);
  progress_(file_.size());
}

bool BlobFile::correct() const {
  if (!complete()) return false;
  auto digest = digest_of_etag(remote_.etag, file_.size());
  if (!digest) return true;
  const io::RandomFile in(file_.path());
  std::string block(size_t{1} << 20, '\0');
  for (uint64_t offset = 0; offset < in.size(); offset += block.size()) {
    io::throw_if_interrupted();
    block.resize(std::min<uint64_t>(block.size(), in.size() - offset));
    in.read(offset, std::as_writable_bytes(std::span(block)));
    digest->update(block);
  }
  return digest->finish() == remote_.etag;
}

}  // namespace m2bert::hub
