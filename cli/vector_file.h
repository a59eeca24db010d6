#pragma once
// Vectors that embed or another program has saved: npy, safetensors, or JSON lines with "embedding".
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "m2bert/io/file.h"
#include "m2bert/io/tree.h"

namespace m2bert::cli {

class VectorFile {
 public:
  // Opens the file, whose content tells the format. npy and safetensors files are mapped; JSON lines are read into memory. safetensors: the
  // tensor "embeddings", or the only one. Errors name the file, and the line: no vectors, another number of dimensions in a row, indices
  // that do not rise, values that are not float16, bfloat16, float32 or float64.
  explicit VectorFile(const std::filesystem::path& file);

  uint64_t rows() const { return rows_; }
  size_t dim() const { return dim_; }
  // The number of a row's text in the input that was embedded, where JSON lines say it, else the number of the row. From 0.
  uint64_t index(uint64_t row) const { return indices_.empty() ? row : indices_[row]; }
  bool has_indices() const { return !indices_.empty(); }
  // What embed has recorded in a safetensors file; empty for other files.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  // One value of it. Error if it is missing.
  const std::string& recorded(const std::string& key) const;

  // Calls `use` with the rows, in order and in blocks. float32 is not copied.
  void for_each_block(const std::function<void(std::span<const float> rows)>& use) const;
  // Error if a value is NaN or infinite; names file and row.
  void require_finite() const;

 private:
  enum class Type { float16, bfloat16, float32, float64 };

  void open_npy();
  void open_safetensors();
  void read_json_lines();
  void read_index(const io::Tree& row, const std::string& where);
  size_t width() const;
  bool is_view() const;
  void convert(uint64_t first, std::span<float> out) const;

  std::filesystem::path path_;
  std::optional<io::MappedFile> mapped_;
  std::vector<float> values_;        // of JSON lines
  std::vector<uint64_t> indices_;    // the same; empty if they have none
  const std::byte* data_ = nullptr;  // the first value
  Type type_ = Type::float32;
  uint64_t rows_ = 0;
  size_t dim_ = 0;
  std::map<std::string, std::string> metadata_;
};

}  // namespace m2bert::cli
