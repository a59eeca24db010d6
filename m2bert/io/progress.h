#pragma once
// Progress of a long job, on stderr: one line that is redrawn on a terminal, a plain line now and then elsewhere.
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace m2bert::io {

struct ProgressOptions {
  std::string unit = "texts";
  bool bytes = false;                    // the units are bytes: "12.3 MB of 40 MB", whatever `unit` says
  std::optional<uint64_t> total;         // in units; without it, percentage and ETA need a fraction in update()
  std::chrono::seconds plain_every{30};  // between lines, if stderr is not a terminal
  std::optional<bool> terminal;          // default: whether stderr is one
};

// update() is cheap: it draws at most ten times a second. Not thread-safe. Silent under set_quiet(true).
class Progress {
 public:
  explicit Progress(std::string what, ProgressOptions options = {}, uint64_t done_before = 0 /* by the run that is resumed */);
  ~Progress();  // removes the bar
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // done: units so far, including those done before. fraction: of the job, 0 to 1, if known by other means (bytes read of a file).
  void update(uint64_t done, std::optional<double> fraction = std::nullopt);
  // Removes the bar and prints one line with count, time and rate.
  void finish();
  // The current line.
  std::string text() const;
  double seconds() const;
  double rate() const;  // units a second since the start of this run

 private:
  void draw();
  std::string what_;
  ProgressOptions options_;
  bool terminal_;
  uint64_t before_, done_;
  std::optional<double> fraction_, first_fraction_;
  std::chrono::steady_clock::time_point start_, drawn_;
};

// "1h02m", "3m20s", "12s", "0.4s".
std::string show_duration(double seconds);
// "12,345".
std::string show_count(uint64_t count);
// "1.2 GB": powers of 1000.
std::string show_bytes(uint64_t bytes);

}  // namespace m2bert::io
