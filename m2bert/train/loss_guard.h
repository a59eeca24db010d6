#pragma once
// Watches the loss for NaN and spikes, before the update.
#include <deque>
#include <string>

#include "m2bert/io/tree.h"
#include "m2bert/train/step.h"

namespace m2bert::train {

enum class Reaction {
  ignore,     // update as always
  warn,       // say so and update
  skip,       // leave the batch out
  roll_back,  // go back to the last checkpoint, and leave out the batches since then
  stop,       // end the run with an error
};

// ignore, warn, skip, roll_back or stop; Error that begins with `where` for another word.
Reaction reaction_named(const std::string& name, const std::string& where);

struct LossGuardOptions {
  Reaction on_nan = Reaction::stop;      // the loss or a gradient is NaN or infinite; ignore and warn then mean skip
  Reaction on_spike = Reaction::ignore;  // the loss is more than spike_factor times the median of the last `window`
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
  // Error once too many batches in a row were to be left out.
  Verdict judge(const Gradient& gradient);
  // A checkpoint was saved: roll-backs are counted anew.
  void saved() { roll_backs_ = 0; }
  // The run went back: the window is that of the checkpoint. Error once that has happened too often.
  void rolled_back(const io::Tree& memory);

  // The losses it compares with, for a checkpoint.
  io::Tree memory() const;
  void restore(const io::Tree& memory);

 private:
  LossGuardOptions options_;
  Verdict found(const Gradient& gradient) const;

  std::deque<double> losses_;
  int roll_backs_ = 0, skips_ = 0;
};

}  // namespace m2bert::train
