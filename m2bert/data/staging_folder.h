#pragma once
// Staging for folders that take long to write: they are built in OUT/building.part and renamed when they are complete.
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "m2bert/io/tree.h"

namespace m2bert::data {

struct StagingFolderOptions {
  bool resume = false;  // resume an unfinished run; start from the beginning if there is none
  // Discard an unfinished run, replace folders of these names, and remove the other folders of the run that built the first of them.
  bool overwrite = false;
  std::vector<std::string> may_turn_on;  // settings that a resumed run may change from false to true; work done so far stays as it is
};

class StagingFolder {
 public:
  // names: the folders to build in `out`, which is created. settings: everything that their content depends on. Throws if such a folder or
  // an unfinished run exists and no option says what to do, if the run to resume had other settings (the error names them) or a damaged
  // state, and if another process builds there.
  StagingFolder(std::filesystem::path out, std::vector<std::string> names, io::Tree settings, const StagingFolderOptions& options);
  // Removes everything of the run unless a state was saved.
  ~StagingFolder();
  StagingFolder(const StagingFolder&) = delete;
  StagingFolder& operator=(const StagingFolder&) = delete;

  // Whether an earlier run with these settings had finished: nothing is left to do.
  bool complete() const { return complete_; }
  // The last saved state of the run that is resumed; nullopt: this run starts from the beginning.
  const std::optional<io::Tree>& saved() const { return saved_; }
  // Where a folder is built. Other names may be used for temporary files of the run.
  std::filesystem::path staged(const std::string& name) const;
  // Saves a state from which an interrupted run resumes. Everything that the state refers to must be on disk.
  void save(const io::Tree& state);
  // The file of that state.
  std::filesystem::path state_file() const { return part_ / "state.json"; }
  // Renames the folders to their final names. Each gets a file build.json with the settings and the result.
  void finish(const io::Tree& result);

 private:
  bool made_before() const;
  void lock();
  void start();
  void require_free() const;
  io::Tree read_state() const;
  void resume(const io::Tree& state);
  std::vector<std::string> find_outdated() const;
  void write_state(const io::Tree& run, bool finished);
  void publish();

  std::filesystem::path out_, part_;
  std::vector<std::string> names_, outdated_;
  io::Tree settings_;
  StagingFolderOptions options_;
  std::optional<io::Tree> saved_;
  int lock_ = -1;
  bool complete_ = false, kept_ = false, made_out_ = false;
};

}  // namespace m2bert::data
