#include "m2bert/optim/time.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>
#include <utility>

#include "m2bert/error.h"

namespace m2bert::optim {

namespace {

constexpr std::pair<const char*, TimeUnit> kUnits[] = {
    {"ba", TimeUnit::batch}, {"ep", TimeUnit::epoch}, {"sp", TimeUnit::sample}, {"tok", TimeUnit::token}, {"dur", TimeUnit::duration}};

}  // namespace

Time parse_time(const std::string& text, const std::string& where) {
  auto wrong = [&] {
    fail(where, ": \"", text,
         "\" is no time; wants a whole number and a unit, 1000ba, 2ep, 5000sp or 100000tok, or a share of the run, 0.06dur");
  };
  Time time{0, TimeUnit::epoch};
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, time.value);
  if (error != std::errc() || !std::isfinite(time.value) || time.value < 0 || time.value > 9e15) wrong();
  const std::string unit(rest, end);
  if (unit.empty()) return time;
  for (const auto& [name, value] : kUnits) {
    if (unit != name) continue;
    time.unit = value;
    if (value != TimeUnit::duration && time.value != std::floor(time.value)) wrong();
    return time;
  }
  wrong();
  return time;
}

std::string show(const Time& time) {
  std::ostringstream text;
  text.precision(15);
  text << time.value;
  for (const auto& [name, unit] : kUnits) {
    if (unit == time.unit) text << name;
  }
  return text.str();
}

int64_t Timestamp::in(TimeUnit unit) const {
  switch (unit) {
    case TimeUnit::batch: return batch;
    case TimeUnit::epoch: return epoch;
    case TimeUnit::sample: return sample;
    case TimeUnit::token: return token;
    case TimeUnit::duration: break;
  }
  fail("[Timestamp] a share of the run is no unit to count in");
}

Time RunLength::resolve(const Time& time) const {
  Time t = time;
  if (t.unit == TimeUnit::duration) t = {t.value * resolve(max_duration).value, resolve(max_duration).unit};
  if (t.unit == TimeUnit::epoch) t = {t.value * double(batches_per_epoch), TimeUnit::batch};
  return {std::floor(t.value + 1e-9), t.unit};  // 0.2 of 30 is 6
}

// Epochs are counted as they end: a run that resumes with another batch size has another number of batches in each.
bool RunLength::reached(const Timestamp& now) const {
  const double value = max_duration.value;
  return max_duration.unit == TimeUnit::epoch && value == std::floor(value) ? double(now.epoch) >= value : share(now) >= 1;
}

double RunLength::share(const Timestamp& now) const {
  const Time whole = resolve(max_duration);
  return whole.value <= 0 ? 1 : std::min(1.0, double(now.in(whole.unit)) / whole.value);
}

bool interval_passed(const Time& interval, const RunLength& run, const Timestamp& before, const Timestamp& now) {
  if (interval.unit == TimeUnit::epoch) {
    const auto each = int64_t(interval.value);
    return each > 0 && before.epoch / each != now.epoch / each;
  }
  if (interval.unit == TimeUnit::duration) {
    if (interval.value <= 0) return false;
    auto count = [&](const Timestamp& t) { return std::floor(run.share(t) / interval.value + 1e-9); };
    return count(before) != count(now);
  }
  const auto each = int64_t(interval.value);
  return each > 0 && before.in(interval.unit) / each != now.in(interval.unit) / each;
}

}  // namespace m2bert::optim
