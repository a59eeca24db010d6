#pragma once
// A run's folder (save_folder): its checkpoints, and which of them to go on from.
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "m2bert/io/file_lock.h"
#include "m2bert/train/run_state.h"

namespace m2bert::train {

class RunFolder {
 public:
  // Makes the folder and locks it. keep: checkpoints that stay, -1 for all. Error: not to be written, in use by another run.
  RunFolder(std::filesystem::path folder, int keep);

  const std::filesystem::path& path() const { return folder_; }
  // Every checkpoint here, newest first.
  std::vector<std::filesystem::path> checkpoints() const;

  // Saves as ep0-ba100.safetensors, points latest.safetensors to it, then removes what is too old. A checkpoint exists under its name when
  // all of it is on disk. Error: see save_run; the message names the last good checkpoint.
  std::filesystem::path save(const Trained& trained, const RunState& state);
  // Loads the newest checkpoint that is whole; a damaged one gives a warning and the one before it is tried. Nothing where there is none.
  // Error when there are some and none can be read.
  std::optional<RunState> load_latest(const Trained& trained) const;
  // The checkpoints that are here now belong to an earlier run: they go once a new one is saved.
  void replace_old();

  std::optional<std::filesystem::path> last_saved() const { return last_; }

 private:
  void link_latest(const std::filesystem::path& file) const;
  void remove_old(const std::filesystem::path& newest);

  std::filesystem::path folder_;
  int keep_;
  std::unique_ptr<io::FileLock> lock_;
  std::vector<std::filesystem::path> foreign_;  // of an earlier run
  std::optional<std::filesystem::path> last_;
};

}  // namespace m2bert::train
