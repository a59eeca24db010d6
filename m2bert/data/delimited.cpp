#include "m2bert/data/delimited.h"

#include <algorithm>

#include "m2bert/error.h"

namespace m2bert::data {

bool DelimitedReader::next(std::vector<std::string>& fields) {
  fields.clear();
  while (lines_.next(record_)) {
    if (record_.empty() || record_ == "\r") continue;
    if (separator_ == '\t' && record_.back() == '\r') record_.pop_back();
    split(fields);
    return true;
  }
  return false;
}

void DelimitedReader::split(std::vector<std::string>& fields) {
  const uint64_t first_line = lines_.line();
  for (size_t at = 0;;) {
    std::string& field = fields.emplace_back();
    const bool tabbed = separator_ == '\t';
    if (at < record_.size() && record_[at] == '"' && (!tabbed || closing_quote(at) != std::string::npos)) {
      quoted(field, at, first_line);
    } else {
      const size_t end = std::min(record_.find(separator_, at), record_.size());
      field.assign(record_, at, end - at);
      at = end;
      if (at == record_.size() && !field.empty() && field.back() == '\r') field.pop_back();
    }
    if (at == record_.size()) return;
    ++at;  // the separator
  }
}

// The position of the quote that closes the one at `at`: one before a separator or at the record's end.
size_t DelimitedReader::closing_quote(size_t at) const {
  for (size_t i = at + 1; i < record_.size(); ++i) {
    if (record_[i] != '"') continue;
    if (i + 1 == record_.size() || record_[i + 1] == separator_) return i;
    if (record_[i + 1] != '"') return std::string::npos;
    ++i;
  }
  return std::string::npos;
}

// Reads a quoted field, which may continue on further lines.
void DelimitedReader::quoted(std::string& field, size_t& at, uint64_t first_line) {
  ++at;
  for (;;) {
    const size_t quote = record_.find('"', at);
    if (quote == std::string::npos) {
      field.append(record_, at);
      at = record_.size();
      record_ += '\n';
      if (!lines_.append(record_)) fail(lines_.name(), ":", first_line, ": a quote is not closed until the end of the input");
      continue;
    }
    field.append(record_, at, quote - at);
    at = quote + 1;
    if (at < record_.size() && record_[at] == '"') {
      field += '"';
      ++at;
      continue;
    }
    if (at + 1 == record_.size() && record_[at] == '\r') record_.pop_back();
    require(at == record_.size() || record_[at] == separator_, lines_.where(), ": text behind the closing quote of a field");
    return;
  }
}

}  // namespace m2bert::data
