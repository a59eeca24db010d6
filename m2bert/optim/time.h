#pragma once
// The progress and the length of a run, in the units of Composer's recipes.
#include <cstdint>
#include <string>

namespace m2bert::optim {

enum class TimeUnit {
  batch,     // ba: optimizer steps
  epoch,     // ep
  sample,    // sp
  token,     // tok: padding counts, as in Composer
  duration,  // dur: share of the whole run, 0.06dur
};

struct Time {
  double value = 0;
  TimeUnit unit = TimeUnit::batch;
};

// "1000ba", "2ep", "286720000sp", "1e9tok", "0.06dur"; a number without a unit is in epochs. Error that starts with `where` for
// anything else and for negative values.
Time parse_time(const std::string& text, const std::string& where);
std::string show(const Time& time);

// The progress of a run.
struct Timestamp {
  int64_t batch = 0, epoch = 0, sample = 0, token = 0;
  // In a unit other than duration.
  int64_t in(TimeUnit unit) const;
  bool operator==(const Timestamp&) const = default;
};

// The length of a run, which converts epochs and shares of the run into batches, samples or tokens.
struct RunLength {
  Time max_duration;
  int64_t batches_per_epoch = 0;
  // The same time in whole batches, samples or tokens, rounded down as in Composer. Epochs become batches.
  Time resolve(const Time& time) const;
  bool reached(const Timestamp& now) const;
  // 0 to 1.
  double share(const Timestamp& now) const;
};

// Whether a multiple of the interval lies in (before, now]. Never true for an interval of 0.
bool interval_passed(const Time& interval, const RunLength& run, const Timestamp& before, const Timestamp& now);

}  // namespace m2bert::optim
