#include "m2bert/train/console.h"

#include <algorithm>
#include <cstdio>
#include <string_view>

#include "m2bert/io/log.h"

namespace m2bert::train {

namespace {

struct Figure {
  const char *name, *shown, *format;
};

// Metrics of a task that are not in the table are shown under their own names.
constexpr std::string_view kEvaluation = "metrics/eval/";

constexpr Figure kFigures[] = {
    {"loss/train/total", "loss", "%.4f"},
    {"metrics/eval/LanguageCrossEntropy", "evaluation: cross entropy", "%.4f"},
    {"metrics/eval/Perplexity", "perplexity", "%.2f"},
    {"metrics/eval/MaskedAccuracy", "accuracy", "%.4f"},
    {"l2_norm/grad/global", "gradient norm", "%.3g"},
    {"lr-AdamW/all", "learning rate", "%.3g"},
    {"throughput/tokens_per_sec", "tokens/s", "%.0f"},
    {"throughput/device/mfu", "flops utilisation", "%.2f"},
};

std::string formatted(double value, const char* format) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

io::ProgressOptions progress_options(const ConsoleOptions& options, uint64_t& total) {
  const auto whole = options.run.resolve(options.run.max_duration);
  total = uint64_t(whole.value);
  io::ProgressOptions progress;
  progress.unit = whole.unit == optim::TimeUnit::batch ? "batches" : whole.unit == optim::TimeUnit::sample ? "samples" : "tokens";
  progress.total = total;
  return progress;
}

uint64_t done(const optim::RunLength& run, const optim::Timestamp& time) { return uint64_t(time.in(run.resolve(run.max_duration).unit)); }

}  // namespace

Console::Console(const ConsoleOptions& options, const optim::Timestamp& start) : options_(options), last_line_(start) {
  if (!options_.progress) return;
  uint64_t total = 0;
  auto how = progress_options(options_, total);
  progress_ = std::make_unique<io::Progress>(options_.name, how, done(options_.run, start));
}

void Console::write(const Record& record) {
  const bool step = record.find("loss/train/total") != nullptr;
  const bool due = options_.lines && optim::interval_passed(options_.line_interval, options_.run, last_line_, record.time);
  if (!step || due) io::info(line_of(record, options_.run));
  if (!step) return;
  last_line_ = record.time;
  if (progress_) progress_->update(done(options_.run, record.time));
}

std::string line_of(const Record& record, const optim::RunLength& run) {
  std::string line = "batch " + io::show_count(uint64_t(record.time.batch));
  const auto whole = run.resolve(run.max_duration);
  if (whole.unit == optim::TimeUnit::batch) line += " of " + io::show_count(uint64_t(whole.value));
  std::string separator = ": ";
  for (const auto& figure : kFigures) {
    const double* value = record.find(figure.name);
    if (!value) continue;
    line += separator + figure.shown + " " + formatted(*value, figure.format);
    separator = ", ";
  }
  for (const auto& [name, value] : record.values) {
    if (!name.starts_with(kEvaluation) || std::ranges::any_of(kFigures, [&](const Figure& f) { return f.name == name; })) continue;
    line += separator + name.substr(kEvaluation.size()) + " " + formatted(value, "%.4f");
    separator = ", ";
  }
  return line;
}

}  // namespace m2bert::train
