#pragma once
// Folders that are made over a long time: they grow in OUT/building.part and get their names when they are whole.
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "m2bert/io/tree.h"

namespace m2bert::data {

struct PartFolderOptions {
  bool resume = false;     // go on where an unfinished run stopped; from the start if there is none
  bool overwrite = false;  // an unfinished run may go, folders of these names, and the others of the run that made the first of them
  std::vector<std::string> may_turn_on;  // settings that may be true where they were false: what is done so far stays as it is
};

class PartFolder {
 public:
  // names: of the folders in `out`, which is made. settings: everything that their content depends on. Error: a folder of such a name or an
  // unfinished run is there and no option says what to do; a run to go on with had other settings (names them), or its state is damaged;
  // another process builds there.
  PartFolder(std::filesystem::path out, std::vector<std::string> names, io::Tree settings, const PartFolderOptions& options);
  // Without a saved state nothing of the run stays.
  ~PartFolder();
  PartFolder(const PartFolder&) = delete;
  PartFolder& operator=(const PartFolder&) = delete;

  // An earlier run with these settings was whole: nothing is left to do.
  bool complete() const { return complete_; }
  // What an unfinished run saved last; absent: this run starts from the beginning.
  const std::optional<io::Tree>& saved() const { return saved_; }
  // Where a folder grows. Other names are for what is needed until the end alone.
  std::filesystem::path growing(const std::string& name) const;
  // From here on a run that breaks off can go on with this. What it tells of must be on disk.
  void save(const io::Tree& state);
  // Where that is written.
  std::filesystem::path state_file() const { return part_ / "state.json"; }
  // Gives the folders their names. Each gets a file build.json with the settings and the result.
  void finish(const io::Tree& result);

 private:
  bool made_before() const;
  void lock();
  void start();
  void require_free() const;
  io::Tree read_state() const;
  void go_on(const io::Tree& state);
  std::vector<std::string> find_outdated() const;
  void write_state(const io::Tree& run, bool finished);
  void publish();

  std::filesystem::path out_, part_;
  std::vector<std::string> names_, outdated_;
  io::Tree settings_;
  PartFolderOptions options_;
  std::optional<io::Tree> saved_;
  int lock_ = -1;
  bool complete_ = false, kept_ = false, made_out_ = false;
};

}  // namespace m2bert::data
