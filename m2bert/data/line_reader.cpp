#include "m2bert/data/line_reader.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "m2bert/error.h"

namespace m2bert::data {

LineReader::LineReader(const std::filesystem::path& path, size_t max_bytes)
    : name_(path == "-" ? "standard input" : path.string()),
      max_bytes_(max_bytes),
      stream_(io::open_byte_stream(path)),
      buffer_(size_t{1} << 20) {
  drop_mark();
}

bool LineReader::fill() {
  begin_ = 0;
  end_ = stream_->read(buffer_);
  return end_ > 0;
}

void LineReader::drop_mark() {
  constexpr size_t kMark = 3;
  while (end_ < kMark) {
    const size_t n = stream_->read(std::span(buffer_).subspan(end_));
    if (n == 0) break;
    end_ += n;
  }
  const std::string_view head(buffer_.data(), std::min(end_, kMark));
  require(head.substr(0, 2) != "\xFF\xFE" && head.substr(0, 2) != "\xFE\xFF", name_,
          ": is UTF-16; convert it to UTF-8 first (iconv -f UTF-16 -t UTF-8)");
  if (head == "\xEF\xBB\xBF") offset_ = begin_ = kMark;
}

bool LineReader::append(std::string& text) {
  bool any = false;
  for (;;) {
    if (begin_ == end_ && !fill()) break;
    any = true;
    const char* from = buffer_.data() + begin_;
    const auto* newline = static_cast<const char*>(std::memchr(from, '\n', end_ - begin_));
    const size_t n = newline ? static_cast<size_t>(newline - from) : end_ - begin_;
    require(n <= max_bytes_ && text.size() <= max_bytes_ - n, name_, ":", line_ + 1, ": the record is longer than ", max_bytes_, " bytes");
    text.append(from, n);
    begin_ += n + (newline ? 1 : 0);
    offset_ += n + (newline ? 1 : 0);
    if (newline) break;
  }
  if (any) ++line_;
  return any;
}

bool LineReader::next(std::string& line) {
  line.clear();
  return append(line);
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
