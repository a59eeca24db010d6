#pragma once
// A run's folder (save_folder): its checkpoints, and which of them to resume from.
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "m2bert/io/file_lock.h"
#include "m2bert/train/run_state.h"

namespace m2bert::train {

class RunFolder {
 public:
  // Creates and locks the folder. keep: checkpoints to keep, -1 for all. Error: the folder is not writable, or another run uses it.
  RunFolder(std::filesystem::path folder, int keep);

  const std::filesystem::path& path() const { return folder_; }
  // Every checkpoint here, newest first.
  std::vector<std::filesystem::path> checkpoints() const;

  // Saves as ep0-ba100.safetensors, points latest.safetensors to it, then removes old checkpoints. A checkpoint gets its name once all of
  // it is on disk. Error: see save_run; the message names the last good checkpoint.
  std::filesystem::path save(const Trained& trained, const RunState& state);
  // Saves the weights alone as best.safetensors, in place of those of an earlier evaluation, with that evaluation in the metadata.
  void save_best(models::Model& model, const Best& best) const;
  // Loads them. Error: there are none, they are of another evaluation than `best`, or they do not fit.
  void load_best(models::Model& model, const Best& best) const;
  // Loads the newest intact checkpoint; a damaged one gives a warning, and the one before it is tried. nullopt if the folder has none.
  // Error if it has some and none can be read.
  std::optional<RunState> load_latest(const Trained& trained) const;
  // The state of the newest checkpoint that can be read, without its arrays; nullopt if there is none.
  std::optional<RunState> latest_state() const;
  // The current checkpoints belong to an earlier run: the first save removes them.
  void replace_old();

 private:
  std::filesystem::path best() const;
  void require_best(const Best& best) const;
  void link_latest(const std::filesystem::path& file) const;
  void remove_old(const std::filesystem::path& newest);

  std::filesystem::path folder_;
  int keep_;
  std::unique_ptr<io::FileLock> lock_;
  std::vector<std::filesystem::path> replaced_;  // checkpoints of an earlier run
};

}  // namespace m2bert::train
