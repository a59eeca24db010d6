#include "m2bert/data/staging_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "m2bert/error.h"
#include "m2bert/io/file.h"
#include "m2bert/io/inner_path.h"
#include "m2bert/io/json.h"
#include "m2bert/io/path.h"
#include "m2bert/io/temporaries.h"

namespace m2bert::data {
namespace {

namespace fs = std::filesystem;

constexpr const char *part_name = "building.part", *description_name = "build.json";

bool is_there(const fs::path& path) {
  std::error_code none;
  return fs::exists(fs::symlink_status(path, none));
}

void make_folder(const fs::path& folder) {
  std::error_code failed;
  fs::create_directories(folder, failed);
  require(!failed, folder.string(), ": cannot make this folder: ", failed.message());
}

void move_to(const fs::path& from, const fs::path& to) {
  std::error_code failed;
  fs::rename(from, to, failed);
  require(!failed, to.string(), ": cannot be renamed to from ", from.string(), ": ", failed.message());
}

std::string shown(const io::Tree* value) {
  if (!value || value->is_null()) return "not set";
  if (value->is_map()) return "set";
  return value->is_list() ? io::to_json(*value) : value->shown();
}

// Describes the differences of two settings.
class Changes {
 public:
  // Notes "length was 32, is 16" for each difference.
  void compare(const io::Tree& before, const io::Tree& after, const std::vector<std::string>& may_turn_on, const std::string& inside = "") {
    for (const auto& [key, value] : after.members()) {
      const io::Tree* old = before.find(key);
      if (old && *old == value) continue;
      const bool turned_on = old && *old == io::Tree(false) && value == io::Tree(true);
      if (turned_on && std::find(may_turn_on.begin(), may_turn_on.end(), key) != may_turn_on.end()) continue;
      if (old && old->is_map() && value.is_map()) compare(*old, value, {}, inside + key + ".");
      else if (old && old->is_list() && key == "inputs") compare_inputs(old->items(), value.items());
      else note(inside + key + " was " + shown(old) + ", is " + shown(&value));
    }
    for (const auto& [key, value] : before.members())
      if (!after.contains(key)) note(inside + key + " was " + shown(&value) + ", is not set");
  }
  const std::string& text() const { return text_; }

 private:
  void note(const std::string& change) { text_ += (text_.empty() ? "" : "; ") + change; }

  // Compares input files by name, size and modification time, and names the first few that differ.
  void compare_inputs(const std::vector<io::Tree>& before, const std::vector<io::Tree>& after) {
    constexpr size_t most = 5;
    if (before.size() != after.size()) {
      note("the number of input files was " + std::to_string(before.size()) + ", is " + std::to_string(after.size()));
      return;
    }
    size_t changed = 0;
    for (size_t i = 0; i < after.size(); ++i) {
      if (before[i] == after[i] || ++changed > most) continue;
      const std::string &was = before[i].at("file").string(), &is = after[i].at("file").string();
      note(was == is ? "input file " + is + " changed since" : "input file " + std::to_string(i + 1) + " was " + was + ", is " + is);
    }
    if (changed > most) note("so did " + std::to_string(changed - most) + " more");
  }

  std::string text_;
};

// The settings that a folder was built with, if it was built here.
std::optional<io::Tree> settings_in(const fs::path& folder) {
  try {
    if (is_there(folder / description_name)) return io::read_json(folder / description_name).at("settings");
  } catch (const Error&) {
  }
  return std::nullopt;
}

}  // namespace

StagingFolder::StagingFolder(fs::path out, std::vector<std::string> names, io::Tree settings, const StagingFolderOptions& options)
    : out_(io::follow_links(std::move(out))),
      part_(out_ / part_name),
      names_(std::move(names)),
      settings_(std::move(settings)),
      options_(options) {
  io::Tree splits = io::Tree::list();
  for (const std::string& name : names_) splits.push_back(name);
  settings_.set("splits", splits);
  require(!is_there(out_) || fs::is_directory(out_), out_.string(), ": is a file, wants the name of a folder");
  if (options_.resume && !is_there(state_file()) && made_before()) {
    complete_ = kept_ = true;
    return;
  }
  if (!(options_.resume && is_there(state_file()))) require_free();
  made_out_ = !is_there(out_);
  make_folder(part_);
  lock();
  try {
    kept_ = options_.resume && is_there(state_file());
    if (kept_) resume(read_state());
    else start();
  } catch (...) {
    ::close(lock_);
    std::error_code none;
    if (!kept_) fs::remove_all(part_, none);
    throw;
  }
}

StagingFolder::~StagingFolder() {
  std::error_code none;
  if (!kept_) fs::remove_all(part_, none);
  if (!kept_ && made_out_) fs::remove(out_, none);  // only if empty
  if (lock_ >= 0) ::close(lock_);
}

// Whether the folders exist and were built with the same settings. Throws if the settings were different.
bool StagingFolder::made_before() const {
  for (const std::string& name : names_) {
    const auto made = settings_in(out_ / name);
    if (!made) return false;
    Changes changes;
    changes.compare(*made, settings_, options_.may_turn_on);
    if (changes.text().empty()) continue;
    require(options_.overwrite, (out_ / name).string(), ": is there already, made otherwise: ", changes.text(),
            "; --overwrite replaces it");
    return false;
  }
  return !names_.empty();
}

// Allows one run at a time. The lock ends with the process.
void StagingFolder::lock() {
  lock_ = ::open((part_ / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  require(lock_ >= 0, part_.string(), ": cannot write there: ", std::strerror(errno));
  if (::flock(lock_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  ::close(lock_);
  fail(part_.string(), ": another run of m2bert builds there");
}

void StagingFolder::require_free() const {
  if (options_.overwrite) return;
  for (const std::string& name : names_)
    require(!is_there(out_ / name), (out_ / name).string(), ": is there already; --overwrite replaces it");
  require(!is_there(state_file()), part_.string(), ": an unfinished run is there; --resume goes on with it, --overwrite starts anew");
}

void StagingFolder::start() {
  for (const auto& entry : fs::directory_iterator(part_))
    if (entry.path().filename() != "lock") fs::remove_all(entry.path());
  for (const std::string& name : names_) make_folder(staged(name));
}

io::Tree StagingFolder::read_state() const {
  try {
    io::Tree state = io::read_json(state_file());
    for (const char* key : {"settings", "run"}) state.at(key).members();
    for (const char* key : {"overwrite", "finished"}) state.at(key).boolean();
    return state;
  } catch (const Error& e) {
    fail("cannot go on with ", part_.string(), ", its state is damaged: ", e.what(), "; --overwrite starts anew");
  }
}

void StagingFolder::resume(const io::Tree& state) {
  Changes changes;
  changes.compare(state.at("settings"), settings_, options_.may_turn_on);
  require(changes.text().empty(), "cannot go on with ", part_.string(), ", something changed since: ", changes.text(),
          ". Put it back, or start anew with --overwrite");
  options_.overwrite = options_.overwrite || state.at("overwrite").boolean();
  outdated_ = state.get("outdated", std::vector<std::string>{});
  saved_ = state.at("run");
  for (const std::string& name : names_) io::remove_abandoned_in(staged(name));
  if (!state.at("finished").boolean()) return;
  publish();
  complete_ = true;
}

fs::path StagingFolder::staged(const std::string& name) const { return part_ / name; }

void StagingFolder::write_state(const io::Tree& run, bool finished) {
  const io::Tree state = {{"settings", settings_},
                          {"overwrite", options_.overwrite},
                          {"finished", finished},
                          {"outdated", io::Tree::list({outdated_.begin(), outdated_.end()})},
                          {"run", run}};
  io::write_file(state_file(), io::to_json(state, 1) + "\n");
}

void StagingFolder::save(const io::Tree& state) {
  write_state(state, false);
  kept_ = true;
}

void StagingFolder::finish(const io::Tree& result) {
  const io::Tree description = {{"settings", settings_}, {"result", result}};
  for (const std::string& name : names_) io::write_file(staged(name) / description_name, io::to_json(description, 1) + "\n");
  outdated_ = find_outdated();
  write_state(io::Tree::map(), true);
  kept_ = true;
  publish();
}

// The other folders of the run that built the first folder, which is replaced: old validation data must not be used with new training data.
std::vector<std::string> StagingFolder::find_outdated() const {
  const auto made = options_.overwrite ? settings_in(out_ / names_.front()) : std::nullopt;
  const io::Tree* splits = made ? made->find("splits") : nullptr;
  if (!splits || !splits->is_list() || splits->size() == 0 || !(splits->items().front() == io::Tree(names_.front()))) return {};
  std::vector<std::string> outdated;
  for (const io::Tree& split : splits->items()) {
    const std::string name = split.is_string() ? split.string() : "";
    const bool plain = io::why_unsafe(name).empty() && name.find('/') == std::string::npos;
    const bool stays = std::find(names_.begin(), names_.end(), name) != names_.end();
    if (plain && !stays && settings_in(out_ / name) == made) outdated.push_back(name);
  }
  return outdated;
}

void StagingFolder::publish() {
  std::error_code none;
  for (const std::string& name : outdated_)
    if (is_there(out_ / name)) move_to(out_ / name, part_ / (name + ".replaced"));
  for (const std::string& name : names_) {
    if (!is_there(staged(name))) continue;  // an earlier run has already renamed it
    const fs::path old = part_ / (name + ".replaced");
    if (is_there(out_ / name)) {
      require(options_.overwrite, (out_ / name).string(), ": is there already; --overwrite replaces it");
      move_to(out_ / name, old);
    }
    move_to(staged(name), out_ / name);
  }
  for (const auto& entry : fs::directory_iterator(part_, none))
    if (entry.path() != state_file()) fs::remove_all(entry.path(), none);
  fs::remove_all(part_, none);  // the state last, so that the next run can finish a run that is killed here
  kept_ = true;
  made_out_ = false;
}

}  // namespace m2bert::data
