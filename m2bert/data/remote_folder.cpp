#include "m2bert/data/remote_folder.h"

#include <algorithm>
#include <memory>

#include "m2bert/error.h"
#include "m2bert/io/byte_stream.h"
#include "m2bert/io/file.h"
#include "m2bert/io/http_client.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/utf8.h"
#include "m2bert/version.h"

namespace m2bert::data {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxBytes = uint64_t{1} << 31;  // of a file of unknown size
constexpr size_t kPiece = size_t{1} << 20;

// A download in progress. Resumes where an earlier attempt stopped.
class PartFile : public io::HttpSink {
 public:
  PartFile(const fs::path& file, std::optional<uint64_t> bytes, std::string shown, std::function<bool()> stopped)
      : file_(file, size_there(file, bytes)), bytes_(bytes), shown_(std::move(shown)), stopped_(std::move(stopped)) {}
  ~PartFile() override {
    std::error_code none;
    if (file_.size() == 0) fs::remove(file_.path(), none);
  }
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;

  uint64_t offset() const override { return file_.size(); }
  void begin(const io::HttpResponse& response) override {
    if (response.status != 206) {
      if (file_.size() > 0) file_.truncate(0);  // the server does not support ranges
      return;
    }
    const std::string* range = response.header("content-range");
    const std::string wanted = "bytes " + std::to_string(file_.size()) + "-";
    if (range && range->starts_with(wanted)) return;
    file_.truncate(0);
    fail(shown_, ": the server answers with another part than it was asked for; nothing of it is kept, try again");
  }
  void write(std::string_view bytes) override {
    require(!stopped_ || !stopped_(), shown_, ": is not needed any more");
    const uint64_t most = bytes_.value_or(kMaxBytes);
    if (bytes.size() > most - file_.size()) {
      file_.truncate(0);
      fail(shown_, ": the server sends more than ", most, " bytes", bytes_ ? ", which its index says" : "");
    }
    file_.append(bytes);
  }
  bool complete() const override { return !bytes_ || file_.size() == *bytes_; }
  void finish(const fs::path& to) {
    require(complete(), shown_, ": has ", file_.size(), " bytes, its index says ", bytes_.value_or(0));
    file_.finish(to);
  }
  void restart() { file_.truncate(0); }

 private:
  static uint64_t size_there(const fs::path& file, std::optional<uint64_t> bytes) {
    std::error_code none;
    const auto kind = fs::symlink_status(file, none).type();
    if (kind != fs::file_type::regular && kind != fs::file_type::not_found) fs::remove(file, none);
    if (kind != fs::file_type::regular || !bytes) return 0;
    const uint64_t size = fs::file_size(file, none);
    return !none && size < *bytes ? size : 0;
  }
  io::GrowingFile file_;
  std::optional<uint64_t> bytes_;
  std::string shown_;
  std::function<bool()> stopped_;
};

bool is_web(const std::string& place) { return place.starts_with("http://") || place.starts_with("https://"); }

}  // namespace

void make_folder_of(const fs::path& file) {
  std::error_code failed;
  if (file.has_parent_path()) fs::create_directories(file.parent_path(), failed);
  require(!failed, file.parent_path().string(), ": cannot make this folder: ", failed.message());
}

RemoteFolder::RemoteFolder(std::string place, FetchOptions options) : place_(std::move(place)), options_(std::move(options)) {
  while (place_.size() > 1 && place_.ends_with('/')) place_.pop_back();
  if (is_web(place_)) {
    (void)io::origin_of(place_);
    return;
  }
  if (place_.starts_with("file://")) place_.erase(0, std::string("file://").size());
  require(place_.find("://") == std::string::npos && !place_.starts_with("dbfs:/"), io::printable(place_),
          ": data is read from folders and from http:// and https:// addresses; copy it to one of these first");
  folder_ = place_;
}

std::string RemoteFolder::shown(const std::string& name) const {
  return (is_web(place_) ? io::shown_url(place_) : place_) + "/" + io::printable(name);
}

void RemoteFolder::fetch(const std::string& name, const fs::path& to, std::optional<uint64_t> bytes) const {
  make_folder_of(to);
  if (folder_) copy(name, to, bytes);
  else download(name, to, bytes);
}

void RemoteFolder::copy(const std::string& name, const fs::path& to, std::optional<uint64_t> bytes) const {
  const io::RandomFile from(*folder_ / name);
  require(!bytes || from.size() == *bytes, shown(name), ": has ", from.size(), " bytes, its index says ", bytes.value_or(0));
  io::AtomicFile out(to);
  std::string piece(kPiece, '\0');
  for (uint64_t at = 0; at < from.size(); at += piece.size()) {
    io::throw_if_interrupted();
    require(!options_.stopped || !options_.stopped(), shown(name), ": is not needed any more");
    piece.resize(std::min<uint64_t>(kPiece, from.size() - at));
    from.read(at, std::as_writable_bytes(std::span(piece)));
    out.write(piece);
  }
  out.commit();
}

void RemoteFolder::download(const std::string& name, const fs::path& to, std::optional<uint64_t> bytes) const {
  io::HttpOptions how{.user_agent = "m2bert/" M2BERT_VERSION,
                      .attempts = options_.attempts,
                      .connect_timeout = options_.timeout,
                      .stall_timeout = options_.timeout};
  io::HttpClient client(how);
  PartFile part(to.string() + ".part", bytes, shown(name), options_.stopped);
  const std::string url = place_ + "/" + io::url_escaped(name, true);
  io::HttpResponse response = client.send({.url = url, .sink = &part});
  if (response.status == 416) {  // range not satisfiable: the partial file does not match
    part.restart();
    response = client.send({.url = url, .sink = &part});
  }
  require(response.status == 200 || response.status == 206, shown(name), ": the server answers with status ", response.status);
  part.finish(to);
}

}  // namespace m2bert::data
