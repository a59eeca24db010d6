#include "m2bert/train/votes.h"

namespace m2bert::train {

namespace {

// A count is sent as two digits: float32 holds integers up to 2^24.
constexpr int64_t kBase = 4096;

}  // namespace

std::vector<float> values_of(const Vote& vote) {
  std::vector<float> values{vote.stop ? 1.0f : 0.0f, vote.ready ? 1.0f : 0.0f};
  const Counts counts = vote.ready.value_or(Counts{});
  for (const int64_t count : {counts.samples, counts.tokens, counts.weight}) {
    values.push_back(float(count % kBase));
    values.push_back(float(count / kBase));
  }
  return values;
}

Outcome outcome_of(const std::vector<float>& sums, int processes) {
  auto count = [&](size_t first) { return int64_t(sums.at(first)) + kBase * int64_t(sums.at(first + 1)); };
  Outcome outcome{sums.at(0) > 0, {}};
  if (sums.at(1) == float(processes)) outcome.totals = Counts{count(2), count(4), count(6)};
  return outcome;
}

}  // namespace m2bert::train
