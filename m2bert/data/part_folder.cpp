#include "m2bert/data/part_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "m2bert/error.h"
#include "m2bert/io/file.h"
#include "m2bert/io/json.h"

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
  if (!value) return "not set";
  return value->is_map() || value->is_list() ? io::to_json(*value) : value->shown();
}

// What a killed run left of io::AtomicFile.
void remove_temporaries_in(const fs::path& folder) {
  std::error_code none;
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder, none))
    if (entry.path().filename().string().find(".part-") != std::string::npos) found.push_back(entry.path());
  for (const fs::path& file : found) fs::remove(file, none);
}

// "length was 32, is 16" for every setting that differs.
std::string differences(const io::Tree& before, const io::Tree& after) {
  std::string text;
  const auto note = [&](const std::string& key) {
    text += (text.empty() ? "" : "; ") + key + " was " + shown(before.find(key)) + ", is " + shown(after.find(key));
  };
  for (const auto& [key, value] : after.members())
    if (const io::Tree* old = before.find(key); !old || !(*old == value)) note(key);
  for (const auto& [key, value] : before.members())
    if (!after.contains(key)) note(key);
  return text;
}

}  // namespace

PartFolder::PartFolder(fs::path out, std::vector<std::string> names, io::Tree settings, const PartFolderOptions& options)
    : out_(std::move(out)), part_(out_ / part_name), names_(std::move(names)), settings_(std::move(settings)), options_(options) {
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
    if (options_.resume && is_there(state_file())) go_on(io::read_json(state_file()));
    else start();
  } catch (...) {
    ::close(lock_);
    std::error_code none;
    if (!kept_) fs::remove_all(part_, none);
    throw;
  }
}

PartFolder::~PartFolder() {
  std::error_code none;
  if (!kept_) fs::remove_all(part_, none);
  if (!kept_ && made_out_) fs::remove(out_, none);  // only if it is empty
  if (lock_ >= 0) ::close(lock_);
}

// Whether the folders are there, made by a run with the same settings.
bool PartFolder::made_before() const {
  for (const std::string& name : names_) {
    const fs::path description = out_ / name / description_name;
    if (!is_there(description)) return false;
    const io::Tree found = io::read_json(description);
    const io::Tree* settings = found.find("settings");
    if (!settings || !(*settings == settings_)) return false;
  }
  return !names_.empty();
}

// One run at a time. The lock goes with the process.
void PartFolder::lock() {
  lock_ = ::open((part_ / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  require(lock_ >= 0, part_.string(), ": cannot write there: ", std::strerror(errno));
  if (::flock(lock_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  ::close(lock_);
  fail(part_.string(), ": another run of m2bert builds there");
}

void PartFolder::require_free() const {
  if (options_.overwrite) return;
  for (const std::string& name : names_)
    require(!is_there(out_ / name), (out_ / name).string(), ": is there already; --overwrite replaces it");
  require(!is_there(state_file()), part_.string(), ": an unfinished run is there; --resume goes on with it, --overwrite starts anew");
}

void PartFolder::start() {
  for (const auto& entry : fs::directory_iterator(part_))
    if (entry.path().filename() != "lock") fs::remove_all(entry.path());
  for (const std::string& name : names_) make_folder(growing(name));
}

void PartFolder::go_on(const io::Tree& state) {
  const std::string changed = differences(state.at("settings"), settings_);
  kept_ = true;
  require(changed.empty(), "cannot go on with ", part_.string(), ", something changed since: ", changed,
          ". Put it back, or start anew with --overwrite");
  options_.overwrite = options_.overwrite || state.at("overwrite").boolean();
  saved_ = state.at("run");
  for (const std::string& name : names_) remove_temporaries_in(growing(name));
  if (!state.at("finished").boolean()) return;
  publish();
  complete_ = true;
}

fs::path PartFolder::growing(const std::string& name) const { return part_ / name; }

void PartFolder::write_state(const io::Tree& run, bool finished) {
  const io::Tree state = {{"settings", settings_}, {"overwrite", options_.overwrite}, {"finished", finished}, {"run", run}};
  io::write_file(state_file(), io::to_json(state, 1) + "\n");
}

void PartFolder::save(const io::Tree& state) {
  write_state(state, false);
  kept_ = true;
}

void PartFolder::finish(const io::Tree& result) {
  const io::Tree description = {{"settings", settings_}, {"result", result}};
  for (const std::string& name : names_) io::write_file(growing(name) / description_name, io::to_json(description, 1) + "\n");
  write_state(io::Tree::map(), true);
  kept_ = true;
  publish();
}

void PartFolder::publish() {
  std::error_code none;
  for (const std::string& name : names_) {
    if (!is_there(growing(name))) continue;  // a run before this one got that far
    const fs::path old = part_ / (name + ".replaced");
    if (is_there(out_ / name)) {
      require(options_.overwrite, (out_ / name).string(), ": is there already; --overwrite replaces it");
      move_to(out_ / name, old);
    }
    move_to(growing(name), out_ / name);
  }
  for (const auto& entry : fs::directory_iterator(part_, none))
    if (entry.path() != state_file()) fs::remove_all(entry.path(), none);
  fs::remove_all(part_, none);  // the state last: a run that is killed here can be finished by the next one
  kept_ = true;
  made_out_ = false;
}

}  // namespace m2bert::data
