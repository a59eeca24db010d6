#include "m2bert/checkpoint/hub.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <optional>

#include "m2bert/checkpoint/folder.h"
#include "m2bert/checkpoint/hub_cache.h"
#include "m2bert/checkpoint/text.h"
#include "m2bert/error.h"
#include "m2bert/io/digest.h"
#include "m2bert/io/file.h"
#include "m2bert/io/file_lock.h"
#include "m2bert/io/http_client.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"
#include "m2bert/io/progress.h"
#include "m2bert/version.h"

namespace m2bert::checkpoint {
namespace {

namespace fs = std::filesystem;

// ---- the environment ----

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

bool is_on(const char* name) {
  std::string value = variable(name);
  for (char& c : value) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  return value == "1" || value == "ON" || value == "YES" || value == "TRUE";
}

fs::path home_expanded(const std::string& path) {
  return path == "~" || path.starts_with("~/") ? fs::path(variable("HOME") + path.substr(1)) : fs::path(path);
}

fs::path hub_home() {
  if (const std::string home = variable("HF_HOME"); !home.empty()) return home_expanded(home);
  if (const std::string cache = variable("XDG_CACHE_HOME"); !cache.empty()) return home_expanded(cache) / "huggingface";
  const std::string home = variable("HOME");
  require(!home.empty(), "there is no place for downloaded models: set HF_HOME to a folder");
  return fs::path(home) / ".cache" / "huggingface";
}

fs::path hub_cache_folder() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"})
    if (const std::string folder = variable(name); !folder.empty()) return home_expanded(folder);
  return hub_home() / "hub";
}

std::string without_spaces(std::string text) {
  const char* spaces = " \t\r\n";
  text.erase(text.find_last_not_of(spaces) + 1);
  text.erase(0, std::min(text.find_first_not_of(spaces), text.size()));
  return text;
}

// The errors name where the token came from, never what it is.
std::string checked_token(const std::string& text, const std::string& source) {
  std::string token = without_spaces(text);
  const bool plain = std::all_of(token.begin(), token.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  require(plain, source, ": holds no token: it has spaces or other characters that no token has");
  return token;
}

std::string hub_token() {
  for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"})
    if (std::string token = checked_token(variable(name), name); !token.empty()) return token;
  if (is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN")) return "";
  const std::string named = variable("HF_TOKEN_PATH");
  const fs::path file = named.empty() ? hub_home() / "token" : home_expanded(named);
  std::error_code none;
  return fs::is_regular_file(file, none) ? checked_token(io::read_file(file, 1 << 16), file.string()) : "";
}

std::chrono::seconds seconds_of(const char* name, std::chrono::seconds otherwise) {
  const std::string value = variable(name);
  if (value.empty()) return otherwise;
  int seconds = 0;
  const auto [end, failed] = std::from_chars(value.data(), value.data() + value.size(), seconds);
  require(failed == std::errc() && end == value.data() + value.size() && seconds >= 1 && seconds <= 86400, name, " is '", printable(value),
          "', wants seconds from 1 to 86400");
  return std::chrono::seconds(seconds);
}

// ---- what the hub says ----

// What a file is, by the headers of its resolve address.
struct RemoteFile {
  std::string name, etag;
  std::optional<uint64_t> size;
};

// The file became another one while it was taken.
class ChangedFile : public Error {
 public:
  using Error::Error;
};

class Hub {
 public:
  Hub(const HubName& name, const HubSettings& settings, int attempts)
      : name_(name),
        settings_(settings),
        asking_(options(settings, settings.check_timeout, attempts)),
        fetching_(options(settings, settings.download_timeout, attempts)) {}

  struct Listing {
    std::string commit;
    std::vector<std::string> files;
  };
  Listing list();
  RemoteFile look_up(const std::string& commit, const std::string& file);
  // The content from the sink's offset on. False: the server has no bytes from there on.
  bool fetch(const std::string& commit, const std::string& file, io::HttpSink& sink);

 private:
  static io::HttpOptions options(const HubSettings& settings, std::chrono::seconds timeout, int attempts) {
    return {.user_agent = "m2bert/" M2BERT_VERSION,
            .token = settings.token,
            .token_origin = settings.endpoint,
            .attempts = attempts,
            .connect_timeout = std::min(timeout, std::chrono::seconds(30)),
            .stall_timeout = timeout};
  }
  std::string address(const std::string& commit, const std::string& file) const {
    return settings_.endpoint + "/" + name_.repository + "/resolve/" + commit + "/" + io::url_escaped(file, true);
  }
  [[noreturn]] void refuse(const io::HttpResponse& response, const std::string& file) const;

  const HubName& name_;
  const HubSettings& settings_;
  io::HttpClient asking_, fetching_;
};

// An answer other than 200 as an error that says what to do.
void Hub::refuse(const io::HttpResponse& response, const std::string& file) const {
  const std::string* code_header = response.header("x-error-code");
  const std::string* message = response.header("x-error-message");
  const std::string code = code_header ? *code_header : "";
  const std::string said = message ? " (the hub says: " + printable(*message) + ")" : "";
  const std::string what = name_.shown() + (file.empty() ? "" : ": " + printable(file));
  const bool denied = response.status == 401 || response.status == 403;
  const bool token = !settings_.token.empty();
  if (denied && code == "GatedRepo")
    fail(what, ": is gated. Accept its terms at ", settings_.endpoint, "/", name_.repository,
         ", and set HF_TOKEN to a token of that account", token ? "; the token that is set has no access" : "", said);
  if (denied && token)
    fail(what, ": the hub refuses access with the token that is set. Is the name right, and may this token (HF_TOKEN) read it?", said);
  if (denied)
    fail(what,
         ": there is no such repository, or it is private or gated. For those accept its terms on the hub if it has any, and set "
         "HF_TOKEN to a token that may read it",
         said);
  if (response.status == 404 && (code == "RevisionNotFound"))
    fail(name_.repository, ": has no revision '", printable(name_.revision), "'", said);
  if (response.status == 404 && !file.empty()) fail(what, ": the hub lists this file, but does not have it", said);
  if (response.status == 404) fail(what, ": no such repository or revision at ", settings_.endpoint, said);
  if (response.status == 429)
    fail(what, ": the hub asks for fewer requests (status 429); try again later", token ? "" : ", or set HF_TOKEN", said);
  if (response.status >= 500)
    throw io::HttpError(what + ": the hub is out of order (status " + std::to_string(response.status) + "); try again later" + said);
  fail(what, ": the hub answers with status ", response.status, said);
}

Hub::Listing Hub::list() {
  const std::string url = settings_.endpoint + "/api/models/" + name_.repository + "/revision/" + io::url_escaped(name_.revision);
  const io::HttpResponse response = asking_.send({.url = url});
  if (response.status != 200) refuse(response, "");
  const io::Tree answer = io::parse_json(response.body, io::shown_url(url));
  Listing listing;
  listing.commit = answer.at("sha").string();
  require(is_commit(listing.commit), name_.shown(), ": the hub gives '", printable(listing.commit), "' as its commit, which is none");
  require(!is_commit(name_.revision) || listing.commit == name_.revision, name_.shown(), ": the hub gives the commit ", listing.commit);
  for (const io::Tree& sibling : answer.at("siblings").items()) {
    listing.files.push_back(sibling.at("rfilename").string());
    const std::string wrong = why_unsafe(listing.files.back());
    require(wrong.empty(), name_.shown(), ": the hub lists a file '", printable(listing.files.back()), "', a name that ", wrong,
            "; nothing is taken from it");
  }
  return listing;
}

RemoteFile Hub::look_up(const std::string& commit, const std::string& file) {
  const io::HttpResponse response = asking_.send({.url = address(commit, file), .head = true, .stop_elsewhere = true});
  const bool elsewhere = response.status >= 300 && response.status < 400 && response.header("location");
  if (response.status != 200 && !elsewhere) refuse(response, file);
  if (const std::string* served = response.header("x-repo-commit"))
    require(*served == commit, name_.shown(), ": ", file, ": the hub serves it from the commit '", printable(*served), "' instead of ",
            commit);
  const std::string* linked = response.header("x-linked-etag");
  if (!linked) linked = response.first_header("x-linked-etag");
  const std::string* etag = linked ? linked : elsewhere ? nullptr : response.header("etag");
  require(etag != nullptr, name_.shown(), ": ", file, ": the server names no ETag, so this is no hub");
  RemoteFile remote{.name = file, .etag = plain_etag(*etag, file)};
  remote.size = io::header_number(response.header("x-linked-size"));
  if (!remote.size && !elsewhere) remote.size = io::header_number(response.header("content-length"));
  return remote;
}

bool Hub::fetch(const std::string& commit, const std::string& file, io::HttpSink& sink) {
  const io::HttpResponse response = fetching_.send({.url = address(commit, file), .sink = &sink});
  if (response.status == 416 && sink.offset() > 0) return false;
  if (response.status != 200 && response.status != 206) refuse(response, file);
  return true;
}

// ---- one file ----

bool is_hex(const std::string& text, size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

// The checksum that an ETag is: SHA-256 of a large file, git's SHA-1 of a small one. Others cannot be checked.
std::optional<io::Digest> digest_for(const std::string& etag, uint64_t size) {
  if (is_hex(etag, 64)) return io::Digest(io::Digest::Kind::sha256);
  if (!is_hex(etag, 40)) return std::nullopt;
  io::Digest digest(io::Digest::Kind::sha1);
  digest.update("blob " + std::to_string(size) + std::string(1, '\0'));
  return digest;
}

// Writes a blob's content to a file that is kept when the run ends early.
class BlobFile : public io::HttpSink {
 public:
  BlobFile(const fs::path& file, const RemoteFile& remote, std::function<void(uint64_t)> progress)
      : remote_(remote), file_(file, size_there(file, remote)), progress_(std::move(progress)), resumed_(file_.size() > 0) {}
  ~BlobFile() override {
    std::error_code none;
    if (file_.size() == 0) fs::remove(file_.path(), none);
  }
  BlobFile(const BlobFile&) = delete;
  BlobFile& operator=(const BlobFile&) = delete;

  uint64_t offset() const override { return file_.size(); }
  bool complete() const override { return !remote_.size || file_.size() == *remote_.size; }
  bool resumed() const { return resumed_; }
  void restart() {
    file_.truncate(0);
    resumed_ = false;
  }

  void begin(const io::HttpResponse& response) override {
    const std::string* now = response.first_header("x-linked-etag");
    if (!now && !response.first_header("location")) now = response.header("etag");
    if (now && plain_etag(*now, remote_.name) != remote_.etag) throw ChangedFile(remote_.name + ": changed on the hub while it was taken");
    const bool rest = response.status == 206;
    const auto size = rest ? size_of_range(response) : io::header_number(response.header("content-length"));
    require(!size || !remote_.size || *size == *remote_.size, remote_.name, ": ", io::shown_url(response.url), " has ", size.value_or(0),
            " bytes of it, while the hub says ", remote_.size.value_or(0));
    if (!rest && file_.size() > 0) restart();  // the server has no ranges
  }

  void write(std::string_view bytes) override {
    require(!remote_.size || bytes.size() <= *remote_.size - file_.size(), remote_.name, ": the server sends more than its ",
            remote_.size.value_or(0), " bytes");
    file_.append(bytes);
    progress_(file_.size());
  }

  // Whether size and checksum are right. Reads the file back: what is checked is what the disk has.
  bool correct() const {
    if (!complete()) return false;
    auto digest = digest_for(remote_.etag, file_.size());
    if (!digest) return true;
    const io::RandomFile in(file_.path());
    std::string piece(size_t{1} << 20, '\0');
    for (uint64_t at = 0; at < in.size(); at += piece.size()) {
      io::throw_if_interrupted();
      piece.resize(std::min<uint64_t>(piece.size(), in.size() - at));
      in.read(at, std::as_writable_bytes(std::span(piece)));
      digest->update(piece);
    }
    return digest->finish() == remote_.etag;
  }

  void finish(const fs::path& final_path) { file_.finish(final_path); }  // after it the destructor finds nothing to remove

 private:
  // What an earlier run left; nothing of it counts if it is a link or longer than the whole.
  static uint64_t size_there(const fs::path& file, const RemoteFile& remote) {
    const auto kind = fs::symlink_status(file).type();
    if (kind != fs::file_type::regular && kind != fs::file_type::not_found) fs::remove(file);
    if (kind != fs::file_type::regular) return 0;
    const uint64_t size = fs::file_size(file);
    return remote.size && size <= *remote.size ? size : 0;
  }

  // The whole's size by "bytes 5-9/10". Error when the range is another one than was asked for.
  std::optional<uint64_t> size_of_range(const io::HttpResponse& response) {
    const std::string* range = response.header("content-range");
    const std::string text = range ? *range : "";
    const std::string wanted = "bytes " + std::to_string(file_.size()) + "-";
    if (!text.starts_with(wanted)) {
      const uint64_t offset = file_.size();
      file_.truncate(0);
      fail(remote_.name, ": the server was asked for the bytes from ", offset, " on and answers with '", printable(text),
           "'; nothing of it is kept, try again");
    }
    const std::string total = text.substr(std::min(text.find('/'), text.size() - 1) + 1);
    return io::header_number(&total);
  }

  const RemoteFile& remote_;
  io::GrowingFile file_;
  std::function<void(uint64_t)> progress_;
  bool resumed_;
};

// ---- a snapshot ----

// Brings the files of one commit into the cache.
class Download {
 public:
  Download(Hub& hub, const HubCache& cache, std::string commit) : hub_(hub), cache_(cache), commit_(std::move(commit)) {}

  std::vector<HubFile> run(const std::vector<std::string>& names) {
    std::vector<HubFile> files;
    std::vector<RemoteFile> missing;
    for (const std::string& name : names) {
      const auto blob = cache_.find(commit_, name);
      if (blob) files.push_back({name, blob->etag, blob->size, false});
      else missing.push_back(hub_.look_up(commit_, name));
    }
    if (!missing.empty()) fetch_all(missing, files);
    std::sort(files.begin(), files.end(), [](const HubFile& a, const HubFile& b) { return a.name < b.name; });
    return files;
  }

 private:
  void fetch_all(std::vector<RemoteFile>& missing, std::vector<HubFile>& files) {
    uint64_t total = 0, there = 0;
    bool known = true;
    for (const RemoteFile& remote : missing) {
      known = known && remote.size;
      total += remote.size.value_or(0);
      there += already(remote);
    }
    require_space(total - std::min(total, there));
    io::ProgressOptions options{.bytes = true, .plain_every = std::chrono::seconds(10)};
    if (known) options.total = total;
    progress_ = std::make_unique<io::Progress>("download", options, there);
    try {
      for (RemoteFile& remote : missing) {
        files.push_back(take(remote));
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

  std::string kept_text() const {
    return kept_ == 0 ? "" : " (" + io::show_bytes(kept_) + " of the file are kept; the same command goes on from there)";
  }

  // Bytes of an earlier run, or of another file that is the same.
  uint64_t already(const RemoteFile& remote) const {
    std::error_code none;
    const fs::path blob = cache_.blob(remote.etag);
    const uint64_t size = fs::file_size(blob, none);
    if (!none) return size;
    const uint64_t part = fs::file_size(incomplete(blob), none);
    return none ? 0 : part;
  }

  void require_space(uint64_t needed) const {
    std::error_code none;
    const auto space = fs::space(cache_.folder(), none);
    require(none || needed <= space.available, cache_.folder().string(), ": the files take ", io::show_bytes(needed), ", and the disk has ",
            io::show_bytes(space.available), " left; free some space, or choose another disk with HF_HOME");
  }

  static fs::path incomplete(const fs::path& blob) { return blob.string() + ".incomplete"; }

  HubFile take(RemoteFile& remote) {
    for (int tries = 0;; ++tries) {
      try {
        HubFile file = take_once(remote);
        cache_.link(commit_, remote.name, remote.etag);
        return file;
      } catch (const ChangedFile&) {
        if (tries == 2) throw;
        remote = hub_.look_up(commit_, remote.name);
      }
    }
  }

  HubFile take_once(const RemoteFile& remote) {
    const fs::path blob = cache_.blob(remote.etag);
    const io::FileLock lock(cache_.lock(remote.etag), [&] { io::info(remote.name, ": waiting for another process that downloads it"); });
    if (const auto size = whole(blob, remote)) return {remote.name, remote.etag, *size, false};
    BlobFile file(incomplete(blob), remote, [this](uint64_t size) {
      kept_ = size;
      progress_->update(done_ + size);
    });
    kept_ = file.offset();
    if (file.resumed()) io::info(remote.name, ": going on after ", io::show_bytes(file.offset()));
    fill(file, remote);
    HubFile taken{remote.name, remote.etag, file.offset(), true};
    file.finish(blob);
    kept_ = 0;
    return taken;
  }

  // The size of a blob that is there, whole and of the right length.
  static std::optional<uint64_t> whole(const fs::path& blob, const RemoteFile& remote) {
    std::error_code none;
    if (fs::symlink_status(blob, none).type() != fs::file_type::regular) return std::nullopt;
    const uint64_t size = fs::file_size(blob);
    return !remote.size || size == *remote.size ? std::optional(size) : std::nullopt;
  }

  // Until the content is right. Bytes of an earlier run are thrown away once if they make it wrong.
  void fill(BlobFile& file, const RemoteFile& remote) {
    for (;;) {
      const bool here = remote.size && file.complete() && file.offset() > 0;
      if ((here || hub_.fetch(commit_, remote.name, file)) && file.correct()) return;
      const bool old = file.resumed();
      file.restart();
      kept_ = 0;
      require(old, remote.name, ": the bytes that came are not those that the hub announced (checksum ", remote.etag,
              "); nothing of it is kept");
      io::warn(remote.name, ": the part from before does not fit the rest; taking all of it anew");
    }
  }

  Hub& hub_;
  const HubCache& cache_;
  std::string commit_;
  std::unique_ptr<io::Progress> progress_;
  uint64_t done_ = 0, kept_ = 0;
};

// Files of a snapshot in the cache, by name.
HubSnapshot cached_snapshot(const HubName& name, const HubCache& cache, const std::string& commit) {
  HubSnapshot snapshot{.repository = name.repository, .revision = name.revision, .commit = commit, .folder = cache.snapshot(commit)};
  for (const auto& entry : fs::recursive_directory_iterator(snapshot.folder)) {
    const std::string file = entry.path().lexically_relative(snapshot.folder).string();
    if (const auto blob = cache.find(commit, file)) snapshot.files.push_back({file, blob->etag, blob->size, false});
  }
  std::sort(snapshot.files.begin(), snapshot.files.end(), [](const HubFile& a, const HubFile& b) { return a.name < b.name; });
  return snapshot;
}

// Whether there is a file of weights, and no list of parts, of which some may be missing.
bool holds_weights(const fs::path& snapshot) {
  bool weights = false, parts = false;
  for (const auto& entry : fs::directory_iterator(snapshot)) {
    weights = weights || is_weights_file(entry.path());
    parts = parts || entry.path().string().ends_with(".index.json");
  }
  return weights && !parts;
}

// Whether the snapshot is a whole model: weights come last, so with them all is there. One whose description cannot be read is there too;
// who loads it is told what is wrong with it.
bool holds_model(const fs::path& snapshot) {
  if (!fs::is_directory(snapshot)) return false;
  try {
    return !read_folder(snapshot).weights.empty();
  } catch (const std::exception&) {
    return holds_weights(snapshot);
  }
}

std::optional<std::string> commit_with_model(const HubName& name, const HubCache& cache) {
  const auto commit = cache.commit_of(name.revision);
  return commit && holds_model(cache.snapshot(*commit)) ? commit : std::nullopt;
}

[[noreturn]] void fail_offline(const HubName& name, const HubSettings& settings) {
  fail(name.shown(), ": is not in the cache ", settings.cache.string(),
       ", and HF_HUB_OFFLINE forbids to ask the hub. Unset it and run: m2bert download ", name.shown());
}

HubSnapshot download_now(const HubName& name, const HubSettings& settings, const HubSelection& selection, int attempts) {
  Hub hub(name, settings, attempts);
  const HubCache cache(settings.cache, name.repository);
  const Hub::Listing listing = hub.list();
  const std::vector<std::string> wanted = selected_files(listing.files, selection);
  require(!wanted.empty(), name.shown(), ": none of its ", listing.files.size(), " files ",
          selection.include.empty() ? "is one of a model (--all takes every file, --include GLOB some)" : "is included");
  HubSnapshot snapshot{.repository = name.repository, .revision = name.revision, .commit = listing.commit};
  snapshot.files = Download(hub, cache, listing.commit).run(wanted);
  snapshot.folder = cache.snapshot(listing.commit);
  cache.remember(name.revision, listing.commit);  // last: until then the old state stays in use
  return snapshot;
}

}  // namespace

HubSettings hub_settings() {
  HubSettings settings;
  if (std::string endpoint = without_spaces(variable("HF_ENDPOINT")); !endpoint.empty()) settings.endpoint = endpoint;
  while (settings.endpoint.ends_with('/')) settings.endpoint.pop_back();
  try {
    (void)io::origin_of(settings.endpoint);
  } catch (const Error& e) {
    fail("HF_ENDPOINT: ", e.what());
  }
  require(settings.endpoint.find_first_of("?#") == std::string::npos, "HF_ENDPOINT: '", io::shown_url(settings.endpoint), "' has a query");
  settings.cache = fs::absolute(hub_cache_folder());
  settings.offline = is_on("HF_HUB_OFFLINE") || is_on("TRANSFORMERS_OFFLINE");
  if (!settings.offline) settings.token = hub_token();
  settings.check_timeout = seconds_of("HF_HUB_ETAG_TIMEOUT", settings.check_timeout);
  settings.download_timeout = seconds_of("HF_HUB_DOWNLOAD_TIMEOUT", settings.download_timeout);
  return settings;
}

HubSnapshot download(const HubName& name, const HubSettings& settings, const HubSelection& selection) {
  if (!settings.offline) return download_now(name, settings, selection, 5);
  const HubCache cache(settings.cache, name.repository);
  const bool for_a_model = selection.include.empty() && selection.exclude.empty() && !selection.all;
  const auto commit = for_a_model ? commit_with_model(name, cache) : cache.commit_of(name.revision);
  if (!commit || !fs::is_directory(cache.snapshot(*commit))) fail_offline(name, settings);
  HubSnapshot snapshot = cached_snapshot(name, cache, *commit);
  std::vector<std::string> names;
  names.reserve(snapshot.files.size());
  for (const HubFile& file : snapshot.files) names.push_back(file.name);
  names = selected_files(names, selection);
  std::erase_if(snapshot.files, [&](const HubFile& file) { return std::find(names.begin(), names.end(), file.name) == names.end(); });
  if (snapshot.files.empty()) fail_offline(name, settings);
  return snapshot;
}

fs::path model_from_hub(const std::string& name, const std::string& where) {
  try {
    return model_from_hub(parse_hub_name(name), hub_settings());
  } catch (const Error& e) {
    if (io::interrupted()) throw;
    fail(where, ": is no file or folder here, and as a name on the hub it fails: ", e.what());
  }
}

fs::path model_from_hub(const HubName& name, const HubSettings& settings) {
  const HubCache cache(settings.cache, name.repository);
  const auto commit = commit_with_model(name, cache);
  if (commit && (settings.offline || is_commit(name.revision))) return cache.snapshot(*commit);
  if (settings.offline) fail_offline(name, settings);
  try {
    return download_now(name, settings, {}, commit ? 1 : 3).folder;
  } catch (const io::HttpError& e) {
    if (!commit) throw;
    io::warn(e.what(), "; using ", name.shown(), " as it is in the cache (commit ", commit->substr(0, 12), ")");
    return cache.snapshot(*commit);
  }
}

}  // namespace m2bert::checkpoint
