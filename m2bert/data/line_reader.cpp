#include "m2bert/data/line_reader.h"

#include <algorithm>

#include "m2bert/data/bad_record.h"
#include "m2bert/data/text_head.h"
#include "m2bert/error.h"

namespace m2bert::data {
namespace {

constexpr size_t kBuffer = size_t{1} << 20;

bool ends_line(char c) { return c == '\n' || c == '\r'; }

}  // namespace

LineReader::LineReader(const std::filesystem::path& path, size_t max_bytes)
    : LineReader(io::open_byte_stream(path), path == "-" ? "standard input" : path.string(), max_bytes) {}

LineReader::LineReader(std::unique_ptr<io::ByteStream> stream, std::string name, size_t max_bytes)
    : name_(std::move(name)), max_bytes_(max_bytes), stream_(std::move(stream)), buffer_(kBuffer) {
  read_head();
}

bool LineReader::fill() {
  begin_ = 0;
  end_ = stream_->read(buffer_);
  return end_ > 0;
}

// Reads no further than the first line, so that a pipe's first line is not held back.
void LineReader::read_head() {
  while (end_ < kTextHead && std::none_of(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(end_), ends_line)) {
    const size_t n = stream_->read(std::span(buffer_).subspan(end_));
    if (n == 0) break;
    end_ += n;
  }
  offset_ = begin_ = check_text_head({buffer_.data(), std::min(end_, kTextHead)}, name_);
}

// The buffer begins with the end of a line.
void LineReader::read_ending() {
  const bool feed = buffer_[begin_] == '\n';
  ++begin_;
  ++offset_;
  ending_ = feed ? "\n" : "\r";
  if (feed || (begin_ == end_ && !fill()) || buffer_[begin_] != '\n') return;
  ++begin_;
  ++offset_;
  ending_ = "\r\n";
}

bool LineReader::next(std::string& line) {
  line.clear();
  ending_ = {};
  bool any = false, too_long = false;
  while (begin_ < end_ || fill()) {
    any = true;
    const std::span rest = std::span(buffer_).subspan(begin_, end_ - begin_);
    const auto n = static_cast<size_t>(std::find_if(rest.begin(), rest.end(), ends_line) - rest.begin());
    too_long |= n > max_bytes_ - line.size();
    if (!too_long) line.append(rest.data(), n);
    begin_ += n;
    offset_ += n;
    if (n == rest.size()) continue;
    read_ending();
    break;
  }
  if (any) ++line_;
  if (too_long) bad_record(where(), ": the line is longer than ", max_bytes_, " bytes, the most that a text may have");
  return any;
}

void LineReader::unread(std::string_view text, uint64_t lines) {
  std::vector<char> joined(text.begin(), text.end());
  joined.insert(joined.end(), buffer_.begin() + static_cast<std::ptrdiff_t>(begin_), buffer_.begin() + static_cast<std::ptrdiff_t>(end_));
  begin_ = 0;
  end_ = joined.size();
  joined.resize(std::max(kBuffer, end_));
  buffer_ = std::move(joined);
  offset_ -= text.size();
  line_ -= lines;
}

void LineReader::skip_to(uint64_t offset, uint64_t line) {
  require(offset >= offset_, name_, ": cannot go back from byte ", offset_, " to ", offset);
  if (offset - offset_ <= end_ - begin_) {
    begin_ += offset - offset_;
  } else if (stream_->seek(offset)) {
    begin_ = end_ = 0;
  } else {
    while (offset_ < offset) {
      require(begin_ < end_ || fill(), name_, ": ends at byte ", offset_, ", was to go on from byte ", offset, "; the input has changed");
      const size_t n = std::min<uint64_t>(offset - offset_, end_ - begin_);
      begin_ += n;
      offset_ += n;
    }
  }
  offset_ = offset;
  line_ = line;
}

}  // namespace m2bert::data
