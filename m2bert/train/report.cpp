#include "m2bert/train/report.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "m2bert/error.h"
#include "m2bert/io/html_page.h"
#include "m2bert/metrics/names.h"
#include "m2bert/train/metrics_file.h"
#include "m2bert/train/svg_chart.h"

namespace m2bert::train {

namespace fs = std::filesystem;

namespace {

constexpr const char* kColours[] = {"#2f6fde", "#d9480f", "#2b8a3e", "#9c36b5", "#c2255c", "#0b7285", "#846358", "#5f3dc4"};

constexpr std::string_view kEvaluation = "metrics/eval/";

constexpr double kDrawable = 1e300;  // differences of larger values may be infinite

constexpr const char* kGenerator = "m2bert report";  // by which is_report recognises a page

constexpr const char* kStyle = R"(
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(420px, 1fr)); gap: 1.5em; }
svg { width: 100%; font: 12px system-ui, sans-serif; }
svg text { fill: var(--text); }
svg .title { font-size: 14px; font-weight: 600; }
svg .grid { stroke: var(--line); }
svg polyline { fill: none; stroke-width: 1.5; }
.mark { display: inline-block; width: .8em; height: .8em; margin-right: .5em; }
)";

const char* colour_of(size_t run) { return kColours[run % std::size(kColours)]; }

const char* name_of(optim::TimeUnit unit) {
  switch (unit) {
    case optim::TimeUnit::sample: return "samples";
    case optim::TimeUnit::token: return "tokens";
    default: return "batches";
  }
}

// Names of metrics, the most important first.
std::vector<std::string> metrics_of(const std::vector<ReportedRun>& runs) {
  std::set<std::string> all;
  for (const auto& run : runs) {
    for (const auto& record : run.records) {
      for (const auto& value : record.values) all.insert(value.first);
    }
  }
  auto rank = [](const std::string& name) {
    int i = 0;
    for (const char* prefix :
         {"loss/", "metrics/eval/", "metrics/train/", "lr-", "l2_norm/grad/global", "throughput/", "memory/", "time/"}) {
      if (name.starts_with(prefix)) return i;
      ++i;
    }
    return i;
  };
  std::vector<std::string> names(all.begin(), all.end());
  std::ranges::stable_sort(names, {}, rank);
  return names;
}

std::vector<std::pair<double, double>> points_of(const ReportedRun& run, const std::string& name, optim::TimeUnit along) {
  std::vector<std::pair<double, double>> points;
  for (const auto& record : run.records) {
    const double* value = record.find(name);
    if (value && std::abs(*value) < kDrawable) points.emplace_back(double(record.time.in(along)), *value);
  }
  return points;
}

std::optional<double> last_of(const ReportedRun& run, const std::string& name) {
  const auto points = points_of(run, name, optim::TimeUnit::batch);
  return points.empty() ? std::nullopt : std::optional(points.back().second);
}

std::optional<double> best_of(const ReportedRun& run, const std::string& name, bool high_is_good) {
  std::optional<double> best;
  for (const auto& [x, y] : points_of(run, name, optim::TimeUnit::batch)) {
    if (!best || (high_is_good ? y > *best : y < *best)) best = y;
  }
  return best;
}

std::string cell(const std::optional<double>& value) { return "<td>" + (value ? short_number(*value) : std::string("–")) + "</td>"; }

// The names of evaluation metrics, as the runs have them.
std::vector<std::string> evaluation_metrics(const std::vector<ReportedRun>& runs) {
  auto names = metrics_of(runs);
  std::erase_if(names, [](const std::string& name) { return !name.starts_with(kEvaluation); });
  return names;
}

std::string table(const std::vector<ReportedRun>& runs) {
  const auto metrics = evaluation_metrics(runs);
  std::string out = "<table><tr><th>run</th><th>batches</th><th>samples</th><th>tokens</th><th>last training loss</th>";
  for (const auto& name : metrics) out += "<th>best " + io::html_text(name.substr(kEvaluation.size())) + "</th>";
  out += "</tr>\n";
  for (size_t i = 0; i < runs.size(); ++i) {
    const auto& time = runs[i].records.back().time;
    out += "<tr><td><span class=\"mark\" style=\"background:" + std::string(colour_of(i)) + "\"></span>" + io::html_text(runs[i].name) +
           "</td>" + cell(double(time.batch)) + cell(double(time.sample)) + cell(double(time.token)) +
           cell(last_of(runs[i], "loss/train/total"));
    for (const auto& name : metrics) out += cell(best_of(runs[i], name, metrics::higher_is_better(name)));
    out += "</tr>\n";
  }
  return out + "</table>\n";
}

}  // namespace

ReportedRun read_run(const fs::path& path) {
  std::error_code none;
  const bool folder = fs::is_directory(path, none);
  const fs::path file = folder ? path / "metrics.jsonl" : path;
  require(!folder || fs::exists(file, none), path.string(), ": holds no metrics.jsonl; is it the folder of a run?");
  auto clean = fs::absolute(path).lexically_normal();
  if (!clean.has_filename()) clean = clean.parent_path();
  ReportedRun run{clean.filename() == "metrics.jsonl" ? clean.parent_path().filename().string() : clean.filename().string(),
                  read_metrics(file)};
  require(!run.records.empty(), file.string(), ": holds no record yet");
  return run;
}

bool is_report(const fs::path& file) { return io::is_page_of(file, kGenerator); }

std::string report_html(const std::vector<ReportedRun>& runs, const ReportOptions& options) {
  std::string charts;
  for (const auto& name : metrics_of(runs)) {
    Chart chart{name, name_of(options.along), {}};
    size_t longest = 0;
    for (size_t i = 0; i < runs.size(); ++i) {
      auto points = points_of(runs[i], name, options.along);
      longest = std::max(longest, points.size());
      if (!points.empty()) chart.curves.push_back({runs[i].name, colour_of(i), thinned(points, options.points)});
    }
    if (longest >= 2) charts += svg_chart(chart);
  }
  return io::html_page(
      {kGenerator, "m2bert: " + options.title,
       "<h1>" + io::html_text(options.title) + "</h1>\n" + table(runs) + "<div class=\"charts\">\n" + charts + "</div>\n" + options.more,
       kStyle});
}

}  // namespace m2bert::train
