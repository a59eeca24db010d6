#include "m2bert/train/loss_guard.h"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <vector>

#include "m2bert/error.h"

namespace m2bert::train {

namespace {

double median(const std::deque<double>& values) {
  std::vector<double> sorted(values.begin(), values.end());
  const auto middle = sorted.begin() + std::ptrdiff_t(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  return *middle;
}

template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

// Without the sign of a NaN, which means nothing.
double shown(double value) { return std::isnan(value) ? std::abs(value) : value; }

}  // namespace

Reaction reaction_named(const std::string& name, const std::string& where) {
  if (name == "ignore") return Reaction::ignore;
  if (name == "warn") return Reaction::warn;
  if (name == "skip") return Reaction::skip;
  if (name == "roll_back") return Reaction::roll_back;
  if (name == "stop") return Reaction::stop;
  fail(where, ": \"", name, "\" is no reaction; wants ignore, warn, skip, roll_back or stop");
}

LossGuard::Verdict LossGuard::verdict_on(const Gradient& g) const {
  if (!g.finite()) {
    const bool mild = options_.on_nan == Reaction::ignore || options_.on_nan == Reaction::warn;
    return {mild ? Reaction::skip : options_.on_nan, text("loss ", shown(g.loss), ", gradient norm ", shown(g.norm))};
  }
  if (options_.on_spike == Reaction::ignore || int(losses_.size()) < std::max(2, options_.window / 2)) return {};
  const double usual = median(losses_);
  if (g.loss <= options_.spike_factor * usual) return {};
  return {options_.on_spike, text("loss ", g.loss, " is ", g.loss / usual, " times the median of the last ", losses_.size())};
}

LossGuard::Verdict LossGuard::judge(const Gradient& g) {
  const auto verdict = verdict_on(g);
  if (verdict.reaction == Reaction::skip) {
    require(++skips_ <= options_.max_skips, verdict.reason, ": ", options_.max_skips,
            " batches in a row were left out already; try a lower learning rate or a longer warm-up");
    return verdict;
  }
  skips_ = 0;
  if (verdict.reaction == Reaction::ignore && g.finite()) losses_.push_back(g.loss);
  if (int(losses_.size()) > options_.window) losses_.pop_front();
  return verdict;
}

void LossGuard::rolled_back(const io::Tree& state) {
  restore(state);
  require(++roll_backs_ <= options_.max_roll_backs, "the loss failed again after the run went back ", options_.max_roll_backs,
          " times to the same checkpoint; try a lower learning rate or a longer warm-up");
}

io::Tree LossGuard::state() const {
  io::Tree losses = io::Tree::list();
  for (const double loss : losses_) losses.push_back(loss);
  return losses;
}

void LossGuard::restore(const io::Tree& state) {
  losses_.clear();
  for (const auto& loss : state.items()) losses_.push_back(loss.number());
}

}  // namespace m2bert::train
