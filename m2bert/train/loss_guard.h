#pragma once
// Checks the loss for NaN and spikes, before the update.
#include <deque>
#include <string>

#include "m2bert/io/tree.h"
#include "m2bert/train/step.h"

namespace m2bert::train {

enum class Reaction {
  ignore,     // update as always
  warn,       // warn and update
  skip,       // skip the batch
  roll_back,  // return to the last checkpoint, and skip the batches since then
  stop,       // end the run with an error
};

// ignore, warn, skip, roll_back or stop; Error that begins with `where` for another word.
Reaction reaction_named(const std::string& name, const std::string& where);

struct LossGuardOptions {
  Reaction on_nan = Reaction::stop;      // to a loss or gradient that is NaN or infinite; ignore and warn mean skip here
  Reaction on_spike = Reaction::ignore;  // to a loss more than spike_factor times the median of the last `window`
  int window = 100;
  double spike_factor = 2;
  int max_roll_backs = 3;  // to the same checkpoint; then the run stops
  int max_skips = 50;      // in a row; then the run stops
};

class LossGuard {
 public:
  explicit LossGuard(const LossGuardOptions& options) : options_(options) {}

  struct Verdict {
    Reaction reaction = Reaction::ignore;
    std::string reason;  // "loss 12.1 is 2.4 times the median of the last 100"
  };
  // Error once more than max_skips batches in a row would be skipped.
  Verdict judge(const Gradient& gradient);
  // Whether the verdict on a finite loss may be against its update.
  bool may_reject_spikes() const { return options_.on_spike != Reaction::ignore && options_.on_spike != Reaction::warn; }
  // Call when a checkpoint was saved: restarts the count of roll-backs.
  void saved() { roll_backs_ = 0; }
  // Call when the run went back to a checkpoint, with the state saved there. Error after more than max_roll_backs.
  void rolled_back(const io::Tree& state);

  // The losses of the window, for a checkpoint.
  io::Tree state() const;
  void restore(const io::Tree& state);

 private:
  LossGuardOptions options_;
  Verdict verdict_on(const Gradient& gradient) const;

  std::deque<double> losses_;
  int roll_backs_ = 0, skips_ = 0;
};

}  // namespace m2bert::train
