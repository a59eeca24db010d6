#pragma once
// Metrics at one moment of a run, under Composer's names, and their loggers.
#include <string>
#include <utility>
#include <vector>

#include "m2bert/optim/time.h"

namespace m2bert::train {

struct Record {
  optim::Timestamp time;
  std::vector<std::pair<std::string, double>> values;

  void add(std::string name, double value) { values.emplace_back(std::move(name), value); }
  // Null if there is no such name.
  const double* find(const std::string& name) const;
};

class Logger {
 public:
  virtual ~Logger() = default;
  virtual void write(const Record& record) = 0;
  // Flushes everything written so far to disk.
  virtual void sync() {}
};

}  // namespace m2bert::train
