#pragma once
// A run on the terminal: progress with the remaining time, and lines with the main metrics.
#include <memory>
#include <string>

#include "m2bert/io/progress.h"
#include "m2bert/train/record.h"

namespace m2bert::train {

struct ConsoleOptions {
  std::string name = "train";  // of the run
  bool progress = true;        // a bar on a terminal, otherwise a line now and then
  bool lines = false;          // metrics of steps, every line_interval
  optim::Time line_interval{1, optim::TimeUnit::batch};
  optim::RunLength run;
};

class Console : public Logger {
 public:
  Console(const ConsoleOptions& options, const optim::Timestamp& start);
  void write(const Record& record) override;

 private:
  ConsoleOptions options_;
  optim::Timestamp last_line_;
  std::unique_ptr<io::Progress> progress_;
};

// "batch 100 of 30000: loss 5.1234, ...": the main metrics of a record.
std::string line_of(const Record& record, const optim::RunLength& run);

}  // namespace m2bert::train
