#pragma once
// Rows to stdout, a pipe or a device.
#include <cstdio>
#include <string>
#include <string_view>

namespace m2bert::cli {

// Lines are written at once. A header that counts the rows comes before them, so rows with one are buffered in a temporary file.
class RowStream {
 public:
  // output: "-" or a path. Error if it cannot be opened, or if rows with a header would go to a terminal.
  RowStream(const std::string& output, bool has_header);
  ~RowStream();
  RowStream(const RowStream&) = delete;
  RowStream& operator=(const RowStream&) = delete;

  // Error if the bytes cannot be written (disk full).
  void write(std::string_view rows);
  // Writes the header, and what is buffered.
  void finish(std::string_view header);

 private:
  void put(std::FILE* file, std::string_view bytes) const;

  std::string output_;
  std::FILE* out_;
  std::FILE* buffered_ = nullptr;  // the rows, until their header is written
};

}  // namespace m2bert::cli
