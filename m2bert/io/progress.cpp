#include "m2bert/io/progress.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "m2bert/io/log.h"
#include "m2bert/io/terminal.h"

namespace m2bert::io {
namespace {

using Clock = std::chrono::steady_clock;

std::string show_rate(double rate, const ProgressOptions& options) {
  if (options.bytes) return show_bytes(static_cast<uint64_t>(rate));
  if (rate >= 100) return show_count(static_cast<uint64_t>(std::llround(rate))) + " " + options.unit;
  char text[32];
  std::snprintf(text, sizeof text, "%.*f %s", rate >= 10 ? 1 : 2, rate, options.unit.c_str());
  return text;
}

std::string show_units(uint64_t count, const ProgressOptions& options) {
  return options.bytes ? show_bytes(count) : show_count(count) + " " + options.unit;
}

}  // namespace

std::string show_duration(double seconds) {
  char text[48];
  const auto whole = static_cast<long long>(std::llround(std::clamp(seconds, 0.0, 1e9)));
  if (seconds < 9.95) std::snprintf(text, sizeof text, "%.1fs", std::max(seconds, 0.0));
  else if (whole < 60) std::snprintf(text, sizeof text, "%llds", whole);
  else if (whole < 3600) std::snprintf(text, sizeof text, "%lldm%02llds", whole / 60, whole % 60);
  else std::snprintf(text, sizeof text, "%lldh%02lldm", whole / 3600, whole % 3600 / 60);
  return text;
}

std::string show_count(uint64_t count) {
  std::string digits = std::to_string(count);
  for (size_t at = digits.size(); at > 3;) digits.insert(at -= 3, ",");
  return digits;
}

std::string show_bytes(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < std::size(kUnits)) value /= 1000, ++unit;
  char text[32];
  std::snprintf(text, sizeof text, "%.*f %s", unit == 0 || value >= 99.95 ? 0 : 1, value, kUnits[unit]);
  return text;
}

Progress::Progress(std::string what, ProgressOptions options, uint64_t done_before)
    : what_(std::move(what)),
      options_(std::move(options)),
      terminal_(options_.terminal.value_or(stderr_is_terminal())),
      before_(done_before),
      done_(done_before),
      start_(Clock::now()),
      drawn_(start_) {}

Progress::~Progress() {
  if (terminal_ && !quiet()) set_bottom_line("");
}

double Progress::seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

double Progress::rate() const {
  const double time = seconds();
  return time > 0 ? static_cast<double>(done_ - std::min(done_, before_)) / time : 0;
}

void Progress::update(uint64_t done, std::optional<double> fraction) {
  done_ = done;
  if (fraction) {
    fraction_ = std::clamp(*fraction, 0.0, 1.0);
    if (!first_fraction_) first_fraction_ = done == before_ || before_ > 0 ? fraction_ : std::optional(0.0);
  }
  if (quiet()) return;
  const auto now = Clock::now();
  const auto pause = terminal_ ? Clock::duration(std::chrono::milliseconds(100)) : Clock::duration(options_.plain_every);
  if (now - drawn_ < pause) return;
  drawn_ = now;
  draw();
}

void Progress::draw() {
  if (!terminal_) {
    print_line(text());
    return;
  }
  std::string line = text();
  const auto width = static_cast<size_t>(std::max(20, terminal_width() - 1));
  if (line.size() > width) line.resize(width);
  set_bottom_line(line);
}

std::string Progress::text() const {
  std::string out = what_ + ": " + (!options_.total ? show_units(done_, options_) : options_.bytes ? show_bytes(done_) : show_count(done_));
  if (options_.total) out += " of " + show_units(*options_.total, options_);
  std::optional<double> share = fraction_;
  if (options_.total && *options_.total > 0) share = std::min(1.0, static_cast<double>(done_) / static_cast<double>(*options_.total));
  if (share) out += ", " + std::to_string(static_cast<int>(std::floor(*share * 100))) + "%";
  const double speed = rate();
  if (speed > 0) out += ", " + show_rate(speed, options_) + "/s";
  std::optional<double> left;  // seconds
  if (options_.total && speed > 0) left = static_cast<double>(*options_.total - std::min(done_, *options_.total)) / speed;
  else if (fraction_ && *fraction_ > first_fraction_.value_or(0)) {
    left = seconds() * (1 - *fraction_) / (*fraction_ - first_fraction_.value_or(0));
  }
  if (left) out += ", " + show_duration(*left) + " left";
  return out;
}

void Progress::finish() {
  if (quiet()) return;
  if (terminal_) set_bottom_line("");
  const uint64_t now = done_ - std::min(done_, before_);
  std::string line = what_ + ": " + show_units(done_, options_) + " in " + show_duration(seconds());
  if (before_) line += " (" + (options_.bytes ? show_bytes(now) : show_count(now)) + " in this run)";
  if (rate() > 0) line += ", " + show_rate(rate(), options_) + "/s";
  print_line(line);
}

}  // namespace m2bert::io
