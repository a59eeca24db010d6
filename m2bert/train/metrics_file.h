#pragma once
// The metrics of a run as JSON lines: {"batch": 1, "epoch": 0, "sample": 8, "token": 256, "loss/train/total": 6.49, ...}.
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "m2bert/io/file.h"
#include "m2bert/train/record.h"

namespace m2bert::train {

class MetricsFile : public Logger {
 public:
  // Goes on behind the first `size` bytes: what a killed run wrote after its last checkpoint is cut off. Of a shorter file all is kept.
  MetricsFile(const std::filesystem::path& file, uint64_t size);
  void write(const Record& record) override;
  void sync() override { file_.sync(); }
  uint64_t size() const { return file_.size(); }

 private:
  io::GrowingFile file_;
};

// NaN and infinite values are null, which read_metrics leaves out.
std::string metrics_line(const Record& record);

// All lines of a metrics file; a last line without its end is left out. Error with file and line for anything else that is no record.
std::vector<Record> read_metrics(const std::filesystem::path& file);
// The same for the file's text; name stands for it in errors.
std::vector<Record> parse_metrics(std::string_view text, const std::string& name);

}  // namespace m2bert::train
