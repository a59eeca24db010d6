#include "m2bert/data/delimited.h"

#include <algorithm>

#include "m2bert/data/bad_record.h"

namespace m2bert::data {

bool DelimitedReader::next(std::vector<std::string>& fields) {
  fields.clear();
  while (lines_.next(record_)) {
    if (record_.empty()) continue;
    first_line_ = lines_.line();
    first_bytes_ = record_.size() + lines_.ending().size();
    split(fields);
    return true;
  }
  return false;
}

void DelimitedReader::split(std::vector<std::string>& fields) {
  for (size_t at = 0;;) {
    std::string& field = fields.emplace_back();
    const bool is_quoted = at < record_.size() && record_[at] == '"' && opens_field(at);
    if (fields.size() == 1) first_is_quoted_ = is_quoted;
    if (is_quoted) {
      quoted(field, at);
    } else {
      const size_t end = std::min(record_.find(delimiter_, at), record_.size());
      field.assign(record_, at, end - at);
      at = end;
    }
    if (at == record_.size()) return;
    at += delimiter_.size();
  }
}

// Whether the quote at `at`, where a field begins, makes it a quoted one.
bool DelimitedReader::opens_field(size_t at) const {
  return quoting_ == Quoting::always || (quoting_ == Quoting::if_closed && closing_quote(at) != std::string::npos);
}

// The position of the quote that closes the one at `at`: one before a delimiter or at the record's end.
size_t DelimitedReader::closing_quote(size_t at) const {
  for (size_t i = at + 1; i < record_.size(); ++i) {
    if (record_[i] != '"') continue;
    if (i + 1 == record_.size() || delimiter_at(i + 1)) return i;
    if (record_[i + 1] != '"') return std::string::npos;
    ++i;
  }
  return std::string::npos;
}

// Appends the end of the last line and the next line. Returns false if there is none, or the record becomes too long.
bool DelimitedReader::extend() {
  record_ += lines_.ending();
  std::string line;
  if (!lines_.next(line)) return false;
  record_ += line;
  return record_.size() <= lines_.max_bytes();
}

void DelimitedReader::refuse_open_quote() {
  const bool too_long = record_.size() > lines_.max_bytes();
  record_ += lines_.ending();
  lines_.unread(std::string_view(record_).substr(first_bytes_), lines_.line() - first_line_);
  bad_record(where(), ": a quote is not closed ",
             too_long ? "within " + std::to_string(lines_.max_bytes()) + " bytes" : std::string("until the end of the input"),
             "; close it, and double quotes inside a quoted field");
}

// Reads a quoted field, which may continue on further lines.
void DelimitedReader::quoted(std::string& field, size_t& at) {
  ++at;
  for (;;) {
    const size_t quote = record_.find('"', at);
    if (quote == std::string::npos) {
      field.append(record_, at);
      at = record_.size();
      if (!extend()) refuse_open_quote();
      continue;
    }
    field.append(record_, at, quote - at);
    at = quote + 1;
    if (at < record_.size() && record_[at] == '"') {
      field += '"';
      ++at;
      continue;
    }
    if (at == record_.size() || delimiter_at(at)) return;
    bad_record(lines_.where(), ": text behind the closing quote of a field", lines_.line() > first_line_ ? " that begins in line " : "",
               lines_.line() > first_line_ ? std::to_string(first_line_) : "", "; double quotes inside a quoted field");
  }
}

}  // namespace m2bert::data
