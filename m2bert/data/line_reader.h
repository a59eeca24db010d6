#pragma once
// Reads a byte stream line by line and keeps count.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "m2bert/io/byte_stream.h"

namespace m2bert::data {

class LineReader {
 public:
  // Throws for a line longer than max_bytes and for UTF-16. Skips a UTF-8 byte order mark.
  LineReader(const std::filesystem::path& path, size_t max_bytes);

  // Reads the next line without its \n; a \r before it is kept. Returns false at the end. The last line may lack its \n.
  bool next(std::string& line);
  // Appends the next line to text; max_bytes limits the whole text.
  bool append(std::string& text);
  // Skips forward to a byte at which a line begins.
  void skip_to(uint64_t offset, uint64_t line);

  uint64_t offset() const { return offset_; }  // bytes of the lines read
  uint64_t line() const { return line_; }      // lines read
  const std::string& name() const { return name_; }
  std::string where() const { return name_ + ":" + std::to_string(line_); }  // the last line read
  std::optional<double> fraction() const { return stream_->fraction(); }

 private:
  bool fill();
  void drop_mark();
  std::string name_;
  size_t max_bytes_;
  std::unique_ptr<io::ByteStream> stream_;
  std::vector<char> buffer_;
  size_t begin_ = 0, end_ = 0;  // unread part of the buffer
  uint64_t offset_ = 0, line_ = 0;
};

}  // namespace m2bert::data
