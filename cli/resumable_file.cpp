#include "cli/resumable_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <system_error>
#include <vector>

#include "m2bert/error.h"
#include "m2bert/io/json.h"
#include "m2bert/io/path.h"
#include "m2bert/io/temporaries.h"

namespace m2bert::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* mark_name = "user.m2bert.settings";

fs::path with_ending(const fs::path& file, const char* ending) { return fs::path(file.string() + ending); }

bool is_there(const fs::path& file) {
  std::error_code error;
  return fs::exists(fs::symlink_status(file, error));
}

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// The mark tells a later --resume with which settings the finished file was written. Without extended attributes there is no mark.
void set_mark(const fs::path& file, const std::string& mark) {
#ifdef __APPLE__
  (void)::setxattr(file.c_str(), mark_name, mark.data(), mark.size(), 0, 0);
#else
  (void)::setxattr(file.c_str(), mark_name, mark.data(), mark.size(), 0);
#endif
}

std::string read_mark(const fs::path& file) {
  char mark[1 << 16];  // the most that Linux stores
#ifdef __APPLE__
  const ssize_t size = ::getxattr(file.c_str(), mark_name, mark, sizeof mark, 0, 0);
#else
  const ssize_t size = ::getxattr(file.c_str(), mark_name, mark, sizeof mark);
#endif
  return size < 0 ? "" : std::string(mark, static_cast<size_t>(size));
}

std::string shown(const io::Tree* value) { return value == nullptr ? "not set" : value->shown(); }

}  // namespace

std::string differences(const io::Tree& before, const io::Tree& after) {
  std::string text;
  const auto note = [&](const std::string& key) {
    text += (text.empty() ? "" : "; ") + key + " was " + shown(before.find(key)) + ", is " + shown(after.find(key));
  };
  for (const auto& [key, value] : after.members())
    if (const io::Tree* old = before.find(key); old == nullptr || !(*old == value)) note(key);
  for (const auto& [key, value] : before.members())
    if (!after.contains(key)) note(key);
  return text;
}

Done done_of(const io::Tree& state) {
  return {state.at("texts").as<uint64_t>(),          state.at("tokens").as<uint64_t>(), state.at("truncated").as<uint64_t>(),
          state.at("without_result").as<uint64_t>(), state.at("rows").as<uint64_t>(),   state.at("input_hash").string()};
}

fs::path state_file(const fs::path& out) { return with_ending(io::writable_path(out), ".part.state"); }

ResumableFile::ResumableFile(const fs::path& out, io::Tree settings, const ResumableOptions& options)
    : name_(out.string()),
      out_(io::writable_path(out)),
      part_(with_ending(out_, ".part")),
      index_part_(with_ending(out_, ".part.index")),
      state_(state_file(out_)),
      settings_(std::move(settings)),
      options_(options) {
  const bool unfinished = is_there(state_) || is_there(part_);
  if (options_.resume && is_there(state_)) {
    const io::Tree state = io::read_json(state_);
    const bool start_over = options_.overwrite && !differences(state.at("settings"), settings_).empty();
    if (!start_over) {
      complete_ = continue_from(state);
      return;
    }
  }
  if (options_.resume && !unfinished && is_finished()) {
    complete_ = true;
    return;
  }
  require_free();
  start();
}

ResumableFile::~ResumableFile() {
  if (file_ && saved_.texts == 0) remove_parts();
  if (lock_ >= 0) ::close(lock_);
}

// Whether OUT is what this run would write. Error if its mark shows other settings.
bool ResumableFile::is_finished() const {
  const std::string mark = read_mark(out_);
  if (!mark.starts_with("{")) return false;
  const std::string changed = differences(io::parse_json(mark, "the mark of " + out_.string()), settings_);
  if (options_.overwrite) return changed.empty();
  require(changed.empty(), "output ", name_, " is complete, but was written with other settings: ", changed, ". --overwrite replaces it");
  return true;
}

void ResumableFile::require_free() const {
  if (options_.overwrite) return;
  require(!is_there(out_), "output ", name_, " is there already; --overwrite replaces it");
  std::error_code error;
  const bool holds_rows = is_there(part_) && fs::file_size(part_, error) > 0;
  if (options_.resume) {
    require(!holds_rows, part_.string(), " has no state file beside it, so its run cannot be resumed; --overwrite starts over");
    return;
  }
  require(!holds_rows && !is_there(state_), "an unfinished run of ", name_, " is there (", part_.string(),
          "); --resume continues it, --overwrite starts over");
}

// One writer at a time. The lock ends with the process.
void ResumableFile::lock() {
  lock_ = ::open(part_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  require(lock_ >= 0, "cannot write ", out_.string(), ": cannot make ", part_.filename().string(), " beside it: ", std::strerror(errno));
  require(::flock(lock_, LOCK_EX | LOCK_NB) == 0, part_.string(), " is being written by another run of m2bert");
  io::remove_abandoned(state_);
}

void ResumableFile::remove_parts() const {
  std::error_code ignored;
  for (const fs::path& path : {part_, index_part_, state_}) fs::remove(path, ignored);
}

void ResumableFile::open_parts(uint64_t bytes, uint64_t index_bytes) {
  file_.emplace(part_, bytes);
  if (options_.has_index) index_.emplace(index_part_, index_bytes);
}

void ResumableFile::start() {
  lock();
  try {
    write_state({}, false);
    open_parts(0, 0);
    file_->append(std::string(options_.header_size, '\0'));
  } catch (...) {
    remove_parts();
    throw;
  }
  saved_at_ = now();
}

// Whether the earlier run had completed everything but its last step, which is done here.
bool ResumableFile::continue_from(const io::Tree& state) {
  const std::string changed = differences(state.at("settings"), settings_);
  require(changed.empty(), "cannot resume ", part_.string(), ", something changed since: ", changed,
          ". Put it back, or start over with --overwrite");
  const Done before = done_of(state);
  const bool replaces = state.at("overwrite").boolean() || options_.overwrite;
  if (state.at("finished").boolean()) {
    if (is_there(part_)) fs::rename(part_, out_);
    fs::remove(index_part_);
    require(is_there(out_), state_.string(), " says that ", out_.string(), " is finished, but it is not there; --overwrite starts over");
    if (!options_.keep_state) fs::remove(state_);
    saved_ = before;
    return true;
  }
  require(!is_there(out_) || replaces, "output ", name_, " is there already; --overwrite replaces it");
  require(before.texts == 0 || is_there(part_), state_.string(), " counts ", before.texts, " texts, but ", part_.string(),
          " is gone; --overwrite starts over");
  options_.overwrite = replaces;
  if (before.texts == 0) {
    start();
    return false;
  }
  lock();
  open_parts(state.at("bytes").as<uint64_t>(), state.at("index_bytes").as<uint64_t>());
  saved_ = before;
  saved_at_ = now();
  return false;
}

void ResumableFile::write_state(const Done& done, bool finished) {
  const io::Tree state = {{"texts", done.texts},
                          {"tokens", done.tokens},
                          {"truncated", done.truncated},
                          {"without_result", done.without_result},
                          {"rows", done.rows},
                          {"input_hash", done.input_hash},
                          {"finished", finished},
                          {"overwrite", options_.overwrite},
                          {"settings", settings_},
                          {"bytes", file_ ? file_->size() : 0},
                          {"index_bytes", index_ ? index_->size() : 0}};
  io::write_file(state_, io::to_json(state, 2) + "\n");
}

void ResumableFile::append(std::string_view rows, std::string_view index, const Done& done) {
  file_->append(rows);
  if (index_) index_->append(index);
  if (now() - saved_at_ >= options_.save_seconds) save(done);
}

void ResumableFile::save(const Done& done) {
  file_->sync();
  if (index_) index_->sync();
  write_state(done, false);
  saved_ = done;
  saved_at_ = now();
}

// Copies the index behind the rows. The state still counts the rows alone, so a run that is killed here starts with them again.
void ResumableFile::append_index() {
  std::ifstream in(index_part_, std::ios::binary);
  std::vector<char> block(size_t{1} << 20);
  uint64_t copied = 0;
  while (in.read(block.data(), static_cast<std::streamsize>(block.size())) || in.gcount() > 0) {
    file_->append(block.data(), static_cast<size_t>(in.gcount()));
    copied += static_cast<uint64_t>(in.gcount());
  }
  require(copied == index_->size(), index_part_.string(), ": cannot be read back");
}

void ResumableFile::finish(std::string_view header, const Done& done) {
  if (index_) {
    save(done);
    append_index();
  }
  file_->write_at(0, header.data(), header.size());
  file_->sync();
  write_state(done, true);
  set_mark(part_, io::to_json(settings_));
  file_->finish(out_);
  file_.reset();
  index_.reset();
  saved_ = done;
  if (options_.has_index) fs::remove(index_part_);
  if (!options_.keep_state) fs::remove(state_);
}

}  // namespace m2bert::cli
