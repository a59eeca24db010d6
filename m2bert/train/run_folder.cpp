#include "m2bert/train/run_folder.h"

#include <algorithm>

#include "m2bert/checkpoint/match.h"
#include "m2bert/checkpoint/run_checkpoints.h"
#include "m2bert/checkpoint/safetensors.h"
#include "m2bert/checkpoint/weights.h"
#include "m2bert/error.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"
#include "m2bert/io/path.h"
#include "m2bert/io/temporaries.h"

namespace m2bert::train {

namespace fs = std::filesystem;

namespace {

constexpr const char* kEnding = ".safetensors";
constexpr const char* kEvaluation = "m2bert.evaluation";  // in the metadata of best.safetensors

std::string name_of(const optim::Timestamp& time) {
  return "ep" + std::to_string(time.epoch) + "-ba" + std::to_string(time.batch) + kEnding;
}

}  // namespace

RunFolder::RunFolder(fs::path folder, int keep) : folder_(io::follow_links(std::move(folder))), keep_(keep) {
  std::error_code error;
  fs::create_directories(folder_, error);
  require(!error, "cannot make ", folder_.string(), ": ", error.message());
  lock_ =
      std::make_unique<io::FileLock>(folder_ / ".lock", [this] { fail(folder_.string(), ": another run is writing into this folder"); });
  io::remove_abandoned_in(folder_);
}

std::vector<fs::path> RunFolder::checkpoints() const { return checkpoint::run_checkpoints(folder_); }

fs::path RunFolder::save(const Trained& trained, const RunState& state) {
  const fs::path file = folder_ / name_of(state.time);
  try {
    save_run(file, trained, state);
    link_latest(file);
  } catch (const std::exception& e) {
    const auto good = checkpoints();
    fail("no checkpoint could be saved: ", io::message_of(e), good.empty() ? "" : " (the last good one is " + good.front().string() + ")");
  }
  remove_old(file);
  return file;
}

void RunFolder::link_latest(const fs::path& file) const {
  const fs::path link = folder_ / (std::string("latest") + kEnding), fresh = folder_ / ".latest.part-";
  std::error_code error;
  fs::remove(fresh, error);
  fs::create_symlink(file.filename(), fresh, error);
  if (!error) fs::rename(fresh, link, error);
  require(!error, link.string(), ": cannot point it to ", file.filename().string(), ": ", error.message());
}

void RunFolder::remove_old(const fs::path& newest) {
  std::error_code none;
  for (const auto& file : replaced_) {
    if (file != newest) fs::remove(file, none);
  }
  replaced_.clear();
  if (keep_ < 0) return;
  const auto all = checkpoints();
  int kept = 0;
  for (const auto& file : all) {
    if (file != newest && ++kept >= std::max(keep_, 1)) fs::remove(file, none);
  }
}

fs::path RunFolder::best() const { return folder_ / (std::string("best") + kEnding); }

void RunFolder::save_best(models::Model& model, const Best& best) const {
  const io::Tree evaluation{{"value", best.value}, {"batch", best.batch}};
  checkpoint::save_safetensors(this->best(), separate_tensors(owned_arrays(model)), {{kEvaluation, io::to_json(evaluation)}});
}

// A run that was killed after a better evaluation, but before the checkpoint that knows of it, has the weights of that evaluation. It
// finds them again when it gets there.
void RunFolder::require_best(const Best& best) const {
  const std::string file = this->best().string();
  const auto metadata = checkpoint::open_safetensors(file)->metadata();
  const auto found = metadata.find(kEvaluation);
  require(found != metadata.end(), file, ": does not say which evaluation its weights are of");
  const io::Tree evaluation = io::parse_json(found->second, file + ", its evaluation");
  const int64_t batch = evaluation.at("batch").integer();
  require(batch == best.batch && evaluation.at("value").number() == best.value, file, ": holds the weights of the evaluation after batch ",
          batch, ", and this run's best one is that after batch ", best.batch,
          ": the run was killed before it saved a checkpoint there. With a max_duration that reaches batch ", batch,
          " it finds them again; load_best_model_at_end=false takes the last weights");
}

void RunFolder::load_best(models::Model& model, const Best& best) const {
  require_best(best);
  checkpoint::match(model, checkpoint::load_weights(this->best()), {.source = this->best().string(), .advice = "It is of another run"});
}

std::optional<RunState> RunFolder::load_latest(const Trained& trained) const {
  std::string problems;
  for (const auto& file : checkpoints()) {
    try {
      auto state = load_run(file, trained);
      io::info("resuming from ", file.string());
      return state;
    } catch (const std::exception& e) {
      io::warn(e.what(), "; trying the checkpoint before it");
      problems += std::string("\n  ") + e.what();
    }
  }
  require(problems.empty(), folder_.string(),
          ": none of its checkpoints can be read, or fits this recipe; another save_folder begins a new run, save_overwrite=true with "
          "autoresume=false replaces this one",
          problems);
  return std::nullopt;
}

std::optional<RunState> RunFolder::latest_state() const {
  for (const auto& file : checkpoints()) {
    try {
      return state_of_run(file);
    } catch (const Error&) {
      // load_latest says what is wrong with it.
    }
  }
  return std::nullopt;
}

void RunFolder::replace_old() { replaced_ = checkpoints(); }

}  // namespace m2bert::train
