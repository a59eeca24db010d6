#pragma once
// The curves of runs as one HTML page that needs nothing else: SVG inside, no script, no network.
#include <filesystem>
#include <string>
#include <vector>

#include "m2bert/train/record.h"

namespace m2bert::train {

struct ReportedRun {
  std::string name;
  std::vector<Record> records;
};

// A run's folder, or its metrics.jsonl. Error: neither, or no record in it.
ReportedRun read_run(const std::filesystem::path& folder_or_file);

struct ReportOptions {
  optim::TimeUnit along = optim::TimeUnit::batch;  // the horizontal axis: batch, sample or token
  size_t points = 800;                             // of a curve at most: the lowest and highest of each stretch stay
};

// A chart for each metric that some run has at two moments, runs in one colour each, and a table of their last and best values.
std::string report_html(const std::vector<ReportedRun>& runs, const ReportOptions& options);

}  // namespace m2bert::train
