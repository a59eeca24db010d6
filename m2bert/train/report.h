#pragma once
// The curves of runs as one self-contained HTML page: inline SVG, no scripts, no network.
#include <filesystem>
#include <string>
#include <vector>

#include "m2bert/train/record.h"

namespace m2bert::train {

struct ReportedRun {
  std::string name;
  std::vector<Record> records;
};

// Reads a run's folder, or its metrics.jsonl. Error: it is neither, or has no record.
ReportedRun read_run(const std::filesystem::path& folder_or_file);

struct ReportOptions {
  optim::TimeUnit along = optim::TimeUnit::batch;  // the horizontal axis: batch, sample or token
  size_t points = 800;                             // of a curve, at most (see thinned)
  std::string title = "Training runs";
  std::string more = {};  // HTML after the charts
};

// Whether a file is a page that report_html made.
bool is_report(const std::filesystem::path& file);

// A chart for each metric that some run has at two moments, with one colour a run, and a table of the last and best values.
std::string report_html(const std::vector<ReportedRun>& runs, const ReportOptions& options);

}  // namespace m2bert::train
