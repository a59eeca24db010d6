#pragma once
// Reads Parquet files, column by column. Source: Apache Parquet, "File Format".
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "m2bert/data/parquet_values.h"
#include "m2bert/io/tree.h"

namespace m2bert::data {

// A column of values, or of lists of values. Other nesting is not read.
struct ParquetColumn {
  std::string name;
  ParquetType type = ParquetType::bytes;
  bool is_unsigned = false;
  bool is_list = false;
  std::string unreadable;  // why it cannot be read, such as "holds decimal numbers"; empty: it can
  int list_level = 0;      // definition level of an empty list
  int max_definition = 0;  // of a value that is there; max_definition - 1 and less: null
  size_t leaf = 0;         // its number among the stored columns
};

// Metadata of one column in one row group.
struct ParquetChunk {
  int64_t codec = 0, values = 0;
  uint64_t offset = 0, size = 0;  // of its pages in the file
};

struct ParquetRowGroup {
  uint64_t rows = 0;
  std::vector<ParquetChunk> chunks;  // for each stored column
};

// The columns and row groups of a file. The bytes must outlive it. Every number in the metadata is checked against the file. Errors name
// the file. Files that are encrypted, or whose columns are in other files, are refused.
class ParquetFile {
 public:
  ParquetFile(std::string_view bytes, std::string name);

  const std::string& name() const { return name_; }
  std::string_view bytes() const { return bytes_; }
  uint64_t rows() const { return rows_; }
  const std::vector<ParquetColumn>& columns() const { return columns_; }
  const std::vector<ParquetRowGroup>& groups() const { return groups_; }

 private:
  std::string_view bytes_;
  std::string name_;
  uint64_t rows_ = 0;
  std::vector<ParquetColumn> columns_;
  std::vector<ParquetRowGroup> groups_;
};

// Reads the values of a column in order, with one page in memory. Plain, dictionary, run-length, delta and split encodings; pages of both
// versions; uncompressed, Snappy, gzip, Brotli and zstd. Errors name file, column, row group and page.
class ParquetColumnReader {
 public:
  // The file must outlive the reader. Error if the column cannot be read.
  ParquetColumnReader(const ParquetFile& file, size_t column);
  ~ParquetColumnReader();
  ParquetColumnReader(ParquetColumnReader&&) noexcept;

  // The value of the next row: null, a boolean, an integer, a number, a string (bytes as they are), or a list of these. There must be one.
  io::Tree next();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace m2bert::data
