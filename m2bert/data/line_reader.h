#pragma once
// Lines of a byte stream, counted.
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
  // A line longer than max_bytes is an error. A UTF-8 byte order mark at the start is dropped; UTF-16 is refused.
  LineReader(const std::filesystem::path& path, size_t max_bytes);

  // The next line without its \n, with a \r before it if there is one; false at the end. The last line may lack its \n.
  bool next(std::string& line);
  // Appends the next line to text; the limit counts for the whole.
  bool append(std::string& text);
  // Forward to a byte that starts a line.
  void skip_to(uint64_t offset, uint64_t line);

  uint64_t offset() const { return offset_; }  // bytes of the lines taken
  uint64_t line() const { return line_; }      // lines taken
  const std::string& name() const { return name_; }
  std::string where() const { return name_ + ":" + std::to_string(line_); }  // the line last taken
  std::optional<double> fraction() const { return stream_->fraction(); }

 private:
  bool fill();
  void drop_mark();
  std::string name_;
  size_t max_bytes_;
  std::unique_ptr<io::ByteStream> stream_;
  std::vector<char> buffer_;
  size_t begin_ = 0, end_ = 0;  // what of the buffer is not taken yet
  uint64_t offset_ = 0, line_ = 0;
};

}  // namespace m2bert::data
