#include "m2bert/data/mds_stream.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "m2bert/error.h"
#include "m2bert/io/checksum.h"
#include "m2bert/io/codec.h"
#include "m2bert/io/file.h"
#include "m2bert/io/file_lock.h"
#include "m2bert/io/hash.h"
#include "m2bert/io/inner_path.h"
#include "m2bert/io/log.h"
#include "m2bert/io/utf8.h"

namespace m2bert::data {
namespace {

namespace fs = std::filesystem;

bool is_file(const fs::path& file) {
  std::error_code none;
  return fs::is_regular_file(file, none);
}

// The default cache folder for the shards of a remote.
fs::path cache_folder(const std::string& remote) {
  const char *cache = std::getenv("XDG_CACHE_HOME"), *home = std::getenv("HOME");
  require((cache && *cache) || (home && *home), "data of ", remote, " needs a folder to be kept in: name one as `local`");
  const fs::path root = cache && *cache ? fs::path(cache) : fs::path(home) / ".cache";
  return root / "m2bert" / "data" / io::hash128(remote);
}

std::string folders_of(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder, none))
    if (is_file(entry.path() / kMdsIndex)) names.push_back(io::printable(entry.path().filename().string(), 60));
  std::sort(names.begin(), names.end());
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

// A lock file, removed at the end.
class ShardLock {
 public:
  explicit ShardLock(const fs::path& shard) : file_(shard.string() + ".lock"), lock_(file_) {}
  ~ShardLock() {
    std::error_code none;
    fs::remove(file_, none);
  }
  ShardLock(const ShardLock&) = delete;
  ShardLock& operator=(const ShardLock&) = delete;

 private:
  fs::path file_;
  io::FileLock lock_;
};

std::string_view view_of(const io::MappedFile& file) { return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}; }

}  // namespace

MdsStream::MdsStream(MdsStreamConfig config) : config_(std::move(config)) {
  require(config_.validate_hash.empty() || io::is_checksum(config_.validate_hash), "validate_hash: there is no hash '",
          config_.validate_hash, "'");
  find_folder();
  const fs::path index = folder_ / kMdsIndex;
  if (remote_ && !is_file(index)) {
    make_folder_of(index);
    const ShardLock lock(index);
    if (!is_file(index)) {
      io::info("data: fetching from ", remote_->shown(""), " to ", folder_.string());
      remote_->fetch(kMdsIndex, index, std::nullopt);
    }
  }
  index_ = read_mds_index(index);
  writable_ = ::access(folder_.c_str(), W_OK) == 0;
}

void MdsStream::find_folder() {
  require(!config_.remote.empty() || !config_.local.empty(), "a data set needs a folder: name it as `local`, or as `remote`");
  const std::string wrong = config_.split.empty() ? "" : io::why_unsafe(config_.split);
  require(wrong.empty(), "split '", io::printable(config_.split), "': the name ", wrong);
  std::optional<RemoteFolder> remote;
  if (!config_.remote.empty()) {
    const std::string slash = config_.remote.ends_with('/') || config_.split.empty() ? "" : "/";
    remote.emplace(config_.remote + slash + config_.split, config_.fetch);
  }
  if (config_.local.empty()) folder_ = remote->folder() ? *remote->folder() : cache_folder(config_.remote) / config_.split;
  else folder_ = config_.split.empty() ? fs::path(config_.local) : fs::path(config_.local) / config_.split;
  std::error_code none;
  const bool same = remote && remote->folder() && fs::weakly_canonical(*remote->folder(), none) == fs::weakly_canonical(folder_, none);
  if (remote && !same) {
    remote_ = std::move(remote);
    return;
  }
  const fs::path root = config_.split.empty() ? folder_ : folder_.parent_path();
  require(fs::is_directory(root, none), root.string(),
          none && none != std::errc::no_such_file_or_directory ? ": cannot be read: " + none.message() : ": no such folder");
  std::error_code failed;
  const fs::file_type kind = fs::status(folder_ / kMdsIndex, failed).type();
  if (kind == fs::file_type::regular) return;
  require(kind == fs::file_type::not_found || !failed, (folder_ / kMdsIndex).string(), ": cannot be read: ", failed.message());
  const std::string there = folders_of(root);
  fail(folder_.string(), ": has no ", kMdsIndex, ", so it holds no data set",
       there.empty() ? std::string("; m2bert data build makes one, and ") + kRebuildAdvice
                     : "; there is one in these folders of " + root.string() + ": " + there);
}

bool MdsStream::usable(const MdsFile& file) const {
  const fs::path path = folder_ / file.name;
  std::error_code none;
  if (!is_file(path)) return false;
  if (!remote_ || fs::file_size(path, none) == file.bytes) return true;
  io::warn(path.string(), ": has not the ", file.bytes, " bytes that its index says; it is fetched anew");
  return false;
}

// Opens a fetched copy. Removes it if that fails, so that the next attempt fetches it again.
template <class Open>
std::shared_ptr<const MdsShard> MdsStream::open_or_remove(const fs::path& copy, Open open) const {
  try {
    return open();
  } catch (const Error& e) {
    if (!remote_) throw;
    std::error_code none;
    fs::remove(copy, none);
    fail(e.what(), ". This copy is removed; the next attempt fetches it anew");
  }
}

std::shared_ptr<const MdsShard> MdsStream::open(size_t shard) const {
  const MdsShardInfo& info = index_.shards.at(shard);
  if (usable(info.raw)) return open_raw(info);
  if (!remote_ && info.packed && (!writable_ || !config_.keep_raw)) return unpack(info);
  require(writable_, folder_.string(), ": ", io::printable(info.raw.name), " is to be made there, but the folder is not writable");
  make_folder_of(raw_file(info));
  const ShardLock lock(raw_file(info));
  return usable(info.raw) ? open_raw(info) : make(info);
}

std::shared_ptr<const MdsShard> MdsStream::open_raw(const MdsShardInfo& info) const {
  return open_or_remove(raw_file(info), [&] {
    io::MappedFile file(raw_file(info));
    check_hash(info.raw, view_of(file), file.path().string());
    return std::make_shared<const MdsShard>(info, std::move(file));
  });
}

std::shared_ptr<const MdsShard> MdsStream::make(const MdsShardInfo& info) const {
  if (!info.packed) {
    fetch(info.raw);
    return open_raw(info);
  }
  if (remote_ && !usable(*info.packed)) fetch(*info.packed);
  auto shard = open_or_remove(folder_ / info.packed->name, [&] { return unpack(info); });
  std::error_code none;
  if (remote_ && !config_.keep_zip) fs::remove(folder_ / info.packed->name, none);
  return shard;
}

void MdsStream::fetch(const MdsFile& file) const {
  const fs::path path = folder_ / file.name;
  require(remote_.has_value(), path.string(), ": no such file; its index lists it");
  io::debug("data: fetching ", remote_->shown(file.name));
  remote_->fetch(file.name, path, file.bytes);
}

std::shared_ptr<const MdsShard> MdsStream::unpack(const MdsShardInfo& info) const {
  const io::MappedFile packed(folder_ / info.packed->name);
  const std::string name = packed.path().string();
  require(packed.bytes().size() == info.packed->bytes, name, ": has ", packed.bytes().size(), " bytes, its index says ",
          info.packed->bytes);
  check_hash(*info.packed, view_of(packed), name);
  const auto compression = io::parse_compression(info.compression);
  require(compression.has_value(), name, ": is packed by '", io::printable(info.compression, 60),
          "', which is not known here; there are zstd, gz, bz2, br and snappy");
  if (!config_.keep_raw || !writable_) {
    std::string content;
    io::decompress(compression->codec, view_of(packed), info.raw.bytes, name, [&](std::string_view piece) { content += piece; });
    check_hash(info.raw, content, name + ", unpacked");
    return std::make_shared<const MdsShard>(info, std::move(content), name);
  }
  io::AtomicFile out(raw_file(info));
  io::decompress(compression->codec, view_of(packed), info.raw.bytes, name, [&](std::string_view piece) { out.write(piece); });
  out.commit();
  return open_raw(info);
}

void MdsStream::check_hash(const MdsFile& file, std::string_view content, const std::string& name) const {
  for (const auto& [algorithm, value] : file.hashes) {
    if (algorithm != config_.validate_hash && !(config_.validate_all && io::is_checksum(algorithm))) continue;
    require(io::checksum(algorithm, content) == value, name, ": is damaged: its ", algorithm, " is not the one of the index");
  }
  if (config_.validate_hash.empty() || file.hashes.contains(config_.validate_hash)) return;
  std::string there;
  for (const auto& [algorithm, value] : file.hashes) there += (there.empty() ? "" : ", ") + io::printable(algorithm, 60);
  fail(name, ": the index has no ", config_.validate_hash, " of it (validate_hash); it has ", there.empty() ? "no hashes" : there);
}

void MdsStream::release(size_t shard) const {
  if (config_.keep_raw || !remote_) return;
  std::error_code none;
  fs::remove(raw_file(index_.shards.at(shard)), none);
}

}  // namespace m2bert::data
