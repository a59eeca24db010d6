#include "m2bert/hub/fetch.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>

#include "m2bert/error.h"
#include "m2bert/hub/blob_file.h"
#include "m2bert/io/file_lock.h"
#include "m2bert/io/log.h"
#include "m2bert/io/progress.h"

namespace m2bert::hub {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxTries = 3;  // of a file that changes on the hub while it is downloaded

fs::path incomplete(const fs::path& blob) { return blob.string() + ".incomplete"; }

// Bytes of the blob that are on disk: of an interrupted download, or of another file with the same content.
uint64_t bytes_on_disk(const Cache& cache, const std::string& etag) {
  std::error_code none;
  const fs::path blob = cache.blob(etag);
  const uint64_t size = fs::file_size(blob, none);
  if (!none) return size;
  const uint64_t part = fs::file_size(incomplete(blob), none);
  return none ? 0 : part;
}

// The size of a blob that is in the cache; nullopt if it is missing or of the wrong size.
std::optional<uint64_t> cached_size(const fs::path& blob, const RemoteFile& remote) {
  std::error_code none;
  if (fs::symlink_status(blob, none).type() != fs::file_type::regular) return std::nullopt;
  const uint64_t size = fs::file_size(blob);
  return !remote.size || size == *remote.size ? std::optional(size) : std::nullopt;
}

void require_space(const fs::path& folder, uint64_t needed) {
  std::error_code none;
  const auto space = fs::space(folder, none);
  require(none || needed <= space.available, folder.string(), ": the files take ", io::show_bytes(needed), ", and the disk has ",
          io::show_bytes(space.available), " left; free some space, or choose another disk with HF_HOME");
}

class Fetcher {
 public:
  Fetcher(Api& api, const Cache& cache, std::string commit) : api_(api), cache_(cache), commit_(std::move(commit)) {}

  std::vector<File> run(const std::vector<std::string>& names) {
    std::vector<File> files;
    std::vector<RemoteFile> missing;
    for (const std::string& name : names) {
      const auto blob = cache_.find(commit_, name);
      if (blob) files.push_back({name, blob->etag, blob->size, false});
      else missing.push_back(api_.metadata(commit_, name));
    }
    if (!missing.empty()) fetch_all(missing, files);
    sort_by_name(files);
    return files;
  }

 private:
  void fetch_all(std::vector<RemoteFile>& missing, std::vector<File>& files) {
    start_progress(missing);
    try {
      for (RemoteFile& remote : missing) {
        files.push_back(fetch(remote));
        done_ += files.back().size;
        progress_->update(done_);
      }
    } catch (const io::HttpError& e) {
      throw io::HttpError(e.what() + kept_text());
    } catch (const Error& e) {
      fail(e.what(), kept_text());
    }
    progress_->finish();
  }

  // Fails if the disk has too little space.
  void start_progress(const std::vector<RemoteFile>& missing) {
    uint64_t total = 0, present = 0;
    bool known = true;
    for (const RemoteFile& remote : missing) {
      known = known && remote.size;
      total += remote.size.value_or(0);
      present += bytes_on_disk(cache_, remote.etag);
    }
    require_space(cache_.folder(), total - std::min(total, present));
    io::ProgressOptions options{.bytes = true, .plain_every = std::chrono::seconds(10)};
    if (known) options.total = total;
    progress_ = std::make_unique<io::Progress>("download", options, present);
  }

  // What the next run can resume from, for the end of an error.
  std::string kept_text() const {
    return kept_ == 0 ? "" : " (" + io::show_bytes(kept_) + " of the file are kept; the same command resumes there)";
  }

  File fetch(RemoteFile& remote) {
    for (int tries = 1;; ++tries) {
      try {
        File file = fetch_blob(remote);
        cache_.link(commit_, remote.name, remote.etag);
        return file;
      } catch (const ChangedFile&) {
        if (tries == kMaxTries) throw;
        remote = api_.metadata(commit_, remote.name);
      }
    }
  }

  File fetch_blob(const RemoteFile& remote) {
    const fs::path blob = cache_.blob(remote.etag);
    const io::FileLock lock(cache_.lock(remote.etag), [&] { io::info(remote.name, ": waiting for another process that downloads it"); });
    if (const auto size = cached_size(blob, remote)) return {remote.name, remote.etag, *size, false};
    BlobFile file(incomplete(blob), remote, [this](uint64_t size) {
      kept_ = size;
      progress_->update(done_ + size);
    });
    kept_ = file.offset();
    if (file.resumed()) io::info(remote.name, ": resuming after ", io::show_bytes(file.offset()));
    fill(file, remote);
    File fetched{remote.name, remote.etag, file.offset(), true};
    file.finish(blob);
    kept_ = 0;
    return fetched;
  }

  // Downloads until the content is right. If it is wrong and began with bytes of an earlier run, those are discarded, once.
  void fill(BlobFile& file, const RemoteFile& remote) {
    for (;;) {
      const bool on_disk = remote.size && file.complete() && file.offset() > 0;
      if ((on_disk || api_.fetch(commit_, remote.name, file)) && file.correct()) return;
      const bool resumed = file.resumed();
      file.restart();
      kept_ = 0;
      require(resumed, remote.name, ": the downloaded bytes are not those that the hub announced (checksum ", remote.etag,
              "); they were discarded");
      io::warn(remote.name, ": the part from an earlier run does not fit the rest; downloading all of it again");
    }
  }

  Api& api_;
  const Cache& cache_;
  std::string commit_;
  std::unique_ptr<io::Progress> progress_;
  uint64_t done_ = 0, kept_ = 0;  // bytes: of finished files; of the file being downloaded, on disk
};

}  // namespace

std::vector<File> fetch_files(Api& api, const Cache& cache, const std::string& commit, const std::vector<std::string>& names) {
  return Fetcher(api, cache, commit).run(names);
}

}  // namespace m2bert::hub
