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
  // Appends after the first `size` bytes: what a killed run wrote after its last checkpoint is cut off. A shorter file is kept whole.
  MetricsFile(const std::filesystem::path& file, uint64_t size);
  void write(const Record& record) override;
  void sync() override { file_.sync(); }
  uint64_t size() const { return file_.size(); }

 private:
  io::GrowingFile file_;
};

// NaN and infinite values are written as null, which read_metrics omits.
std::string metrics_line(const Record& record);

// The records of a metrics file. An incomplete last line is ignored; any other line that is not a record is an Error with file and line.
std::vector<Record> read_metrics(const std::filesystem::path& file);
// The same for the text of a file; errors call it `name`.
std::vector<Record> parse_metrics(std::string_view text, const std::string& name);

}  // namespace m2bert::train
