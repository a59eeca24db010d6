#pragma once
// Vectors that embed or another program has saved: npy, safetensors, or JSON lines with "embedding".
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "m2bert/checkpoint/safetensors_header.h"
#include "m2bert/io/file.h"
#include "m2bert/io/tree.h"
#include "m2bert/search/quantize.h"

namespace m2bert::cli {

class VectorFile {
 public:
  // Opens the file, whose content tells the format. npy and safetensors files are mapped; JSON lines are read into memory. safetensors: the
  // tensor "embeddings", or the only one. Errors name the file, and the line: no vectors, another number of dimensions in a row, indices
  // that do not rise, values that are not float16, bfloat16, float32, float64, int8 or uint8, vectors of tokens.
  explicit VectorFile(const std::filesystem::path& file);

  uint64_t rows() const { return rows_; }
  // The values in a row: dimensions, or for binary and ubinary vectors bytes of eight.
  size_t dim() const { return dim_; }
  // The number of a row's text in the input that was embedded, where the file says it, else the number of the row. From 0.
  uint64_t index(uint64_t row) const { return indices_.empty() ? row : indices_[row]; }
  bool has_indices() const { return !indices_.empty(); }
  // Of vectors of passages (embed --late-chunking): the characters of a row's passage in its text, [start, end).
  bool has_passages() const { return !passages_.empty(); }
  std::pair<uint64_t, uint64_t> passage(uint64_t row) const { return passages_[row]; }
  // What embed has recorded in a safetensors file; empty for other files.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  // One value of it. Error if it is missing.
  const std::string& recorded(const std::string& key) const;

  // Whether the values are floats. The others are those of a search::Quantizer.
  bool is_float() const { return type_ != Type::int8 && type_ != Type::uint8; }
  // Which one: what the file records, else what fits vectors of dim values. Error if neither int8, uint8, binary nor ubinary fits.
  search::Precision precision(size_t dim) const;
  // The ranges of int8 and uint8 vectors, where the file records them; empty: it does not.
  const search::Ranges& ranges() const { return ranges_; }
  // The bytes of the rows of vectors that are not floats, [rows, dim].
  std::span<const uint8_t> bytes() const { return {reinterpret_cast<const uint8_t*>(data_), rows_ * dim_}; }

  // One row of floats as float32 [dim].
  void read_row(uint64_t row, std::span<float> out) const { convert(row * dim_, out); }
  // Calls `use` with the rows of floats, in order and in blocks. float32 is not copied.
  void for_each_block(const std::function<void(std::span<const float> rows)>& use) const;
  // Error if a value is NaN or infinite; names file and row.
  void require_finite() const;

 private:
  enum class Type { float16, bfloat16, float32, float64, int8, uint8 };

  void open_npy();
  void open_safetensors();
  void read_ranges(const checkpoint::SafetensorsEntry& tensor);
  void read_passages(const checkpoint::SafetensorsEntry& tensor);
  void read_json_lines();
  void read_index(const io::Tree& row, const std::string& where);
  void read_precision(const io::Tree& row, const std::string& where);
  void read_values(const io::Tree& row, const std::string& where);
  size_t width() const;
  bool is_view() const;
  void convert(uint64_t first, std::span<float> out) const;

  std::filesystem::path path_;
  std::optional<io::MappedFile> mapped_;
  std::vector<float> values_;      // of JSON lines
  std::vector<uint8_t> codes_;     // the same, if they are not floats
  std::vector<uint64_t> indices_;  // empty if the file has none
  std::vector<std::pair<uint64_t, uint64_t>> passages_;
  std::string precision_;  // as the file records it; empty: it does not
  search::Ranges ranges_;
  const std::byte* data_ = nullptr;  // the first value
  Type type_ = Type::float32;
  uint64_t rows_ = 0;
  size_t dim_ = 0;
  std::map<std::string, std::string> metadata_;
};

}  // namespace m2bert::cli
