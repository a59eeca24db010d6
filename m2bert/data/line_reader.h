#pragma once
// Reads a byte stream line by line and keeps count.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "m2bert/io/byte_stream.h"

namespace m2bert::data {

class LineReader {
 public:
  // Skips a UTF-8 byte order mark. Throws if the input is no text (see check_text_head).
  LineReader(const std::filesystem::path& path, size_t max_bytes);
  // The same for an open stream. name: what errors call it.
  LineReader(std::unique_ptr<io::ByteStream> stream, std::string name, size_t max_bytes);

  // Reads the next line, without its end: \n, \r\n or a single \r. Returns false at the end. The last line may lack its end. BadRecord for
  // a line longer than max_bytes; the next call goes on behind it.
  bool next(std::string& line);
  // The bytes that ended the last line: empty for a last line without an end.
  std::string_view ending() const { return ending_; }
  // Puts back the last `lines` lines. text: their bytes, including what ended them.
  void unread(std::string_view text, uint64_t lines);
  // Skips forward to a byte at which a line begins.
  void skip_to(uint64_t offset, uint64_t line);

  uint64_t offset() const { return offset_; }  // bytes of the lines read
  uint64_t line() const { return line_; }      // lines read
  size_t max_bytes() const { return max_bytes_; }
  const std::string& name() const { return name_; }
  std::string where() const { return name_ + ":" + std::to_string(line_); }  // the last line read
  std::optional<double> fraction() const { return stream_->fraction(); }

 private:
  bool fill();
  void read_head();
  void read_ending();
  std::string name_;
  size_t max_bytes_;
  std::unique_ptr<io::ByteStream> stream_;
  std::vector<char> buffer_;
  size_t begin_ = 0, end_ = 0;  // unread part of the buffer
  uint64_t offset_ = 0, line_ = 0;
  std::string_view ending_;
};

}  // namespace m2bert::data
