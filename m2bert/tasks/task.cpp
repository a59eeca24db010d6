#include "m2bert/tasks/task.h"

#include <algorithm>

namespace m2bert::tasks {

const double* find(const std::vector<Metric>& metrics, const std::string& name) {
  const auto it = std::ranges::find(metrics, name, &Metric::name);
  return it == metrics.end() ? nullptr : &it->value;
}

int microbatch_rows(const Task& task, const data::Batch& batch, int wanted) {
  if (wanted <= 0) return batch.rows;
  const int sample = task.rows_per_sample();
  return std::min(std::max(wanted / sample * sample, sample), batch.rows);
}

}  // namespace m2bert::tasks
