#include "m2bert/train/metrics_file.h"

#include <algorithm>
#include <cmath>

#include "m2bert/error.h"
#include "m2bert/io/json.h"

namespace m2bert::train {

namespace fs = std::filesystem;

namespace {

uint64_t size_to_keep(const fs::path& file, uint64_t size) {
  std::error_code none;
  const uint64_t there = fs::exists(file, none) ? fs::file_size(file, none) : 0;
  return std::min(size, there);
}

Record record_of(const io::Tree& line) {
  Record record;
  constexpr int64_t most = int64_t{1} << 53;
  for (const auto& [key, value] : line.members()) {
    if (key == "batch") record.time.batch = value.integer(0, most);
    else if (key == "epoch") record.time.epoch = value.integer(0, most);
    else if (key == "sample") record.time.sample = value.integer(0, most);
    else if (key == "token") record.time.token = value.integer(0, most);
    else if (!value.is_null()) record.add(key, value.number());
  }
  return record;
}

}  // namespace

const double* Record::find(const std::string& name) const {
  const auto it = std::ranges::find_if(values, [&](const auto& v) { return v.first == name; });
  return it == values.end() ? nullptr : &it->second;
}

MetricsFile::MetricsFile(const fs::path& file, uint64_t size) : file_(file, size_to_keep(file, size)) {}

void MetricsFile::write(const Record& record) { file_.append(metrics_line(record)); }

std::string metrics_line(const Record& record) {
  io::Tree line{{"batch", record.time.batch}, {"epoch", record.time.epoch}, {"sample", record.time.sample}, {"token", record.time.token}};
  for (const auto& [name, value] : record.values) line.set(name, std::isfinite(value) ? io::Tree(value) : io::Tree());
  return io::to_json(line) + "\n";
}

std::vector<Record> read_metrics(const fs::path& file) { return parse_metrics(io::read_file(file), file.string()); }

namespace {

// Errors say the line of the file: only then are the lines before it worth making up.
Record parse_line(std::string_view line, const std::string& name, size_t before) {
  try {
    return record_of(io::parse_json(line, name));
  } catch (const Error&) {
    return record_of(io::parse_json(std::string(before, '\n').append(line), name));
  }
}

}  // namespace

std::vector<Record> parse_metrics(std::string_view text, const std::string& name) {
  std::vector<Record> records;
  size_t before = 0;  // lines
  for (size_t at = 0;; ++before) {
    const size_t end = text.find('\n', at);
    if (end == std::string_view::npos) return records;
    records.push_back(parse_line(text.substr(at, end - at), name, before));
    at = end + 1;
  }
}

}  // namespace m2bert::train
