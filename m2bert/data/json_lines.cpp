#include "m2bert/data/json_lines.h"

#include "m2bert/io/json.h"
#include "m2bert/io/utf8.h"

namespace m2bert::data {

void SkippedRecords::add(const BadRecord& error, bool skip) {
  if (!skip) throw error;
  if (count++ == 0) first = error.what();
}

void SkippedRecords::add(const SkippedRecords& more) {
  if (count == 0) first = more.first;
  count += more.count;
}

JsonLines::JsonLines(const std::filesystem::path& path, bool skip_bad, size_t max_line_bytes)
    : lines_(path, max_line_bytes), skip_bad_(skip_bad) {}

// Errors of the parser begin with "file:line" and the place in the line, which is always its first line.
io::Tree JsonLines::parse() const {
  try {
    return io::parse_json(line_, where());
  } catch (const Error& e) {
    const std::string message = e.what(), start = where() + ":1:";
    throw BadRecord(message.starts_with(start) ? where() + ":" + message.substr(start.size()) : message);
  }
}

bool JsonLines::next(io::Tree& object) {
  return next([&](const io::Tree& read) { object = read; });
}

bool JsonLines::next(const std::function<void(const io::Tree& object)>& use) {
  while (true) {
    try {
      if (!lines_.next(line_)) return false;
      if (line_.find_first_not_of(" \t") == std::string::npos) continue;
      const io::Tree object = parse();
      if (!object.is_map()) bad_record(where(), ": wants a JSON object, got ", io::printable(line_, 40));
      use(object);
      return true;
    } catch (const BadRecord& e) {
      skipped_.add(e, skip_bad_);
    }
  }
}

std::string string_member(const io::Tree& object, const std::string& name, const std::string& where, bool numbers) {
  const io::Tree* value = object.find(name);
  if (value == nullptr) bad_record(where, ": has no field \"", name, "\"");
  if (value->is_string()) return value->string();
  if (numbers && value->is_integer()) return std::to_string(value->integer());
  bad_record(where, ": the field \"", name, "\" is ", value->shown(), ", and must be a string");
}

}  // namespace m2bert::data
