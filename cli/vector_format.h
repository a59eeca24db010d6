#pragma once
// Vectors as bytes: npy, safetensors or JSON lines. Headers have a fixed size, so that they can be written last.
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>

#include "m2bert/io/tree.h"

namespace m2bert::cli {

enum class VectorFormat { npy, safetensors, jsonl };

// By the file's extension (.npy, .safetensors, .jsonl, .json, .ndjson). Error for any other.
VectorFormat vector_format_of(const std::filesystem::path& file);
VectorFormat vector_format_named(const std::string& name);  // "npy", "safetensors", "jsonl"
const char* name_of(VectorFormat format);

// The header of npy and safetensors files (one tensor, "embeddings"). Its size does not depend on the number of rows.
class VectorHeader {
 public:
  // metadata: what safetensors files record beside the vectors.
  VectorHeader(VectorFormat format, int dim, std::map<std::string, std::string> metadata);
  // 0 for JSON lines, which have none.
  size_t size() const { return size_; }
  // The header of a file with that many float32 rows.
  std::string text(uint64_t rows) const;

 private:
  std::string safetensors_json(uint64_t rows) const;

  VectorFormat format_;
  int dim_;
  std::map<std::string, std::string> metadata_;
  size_t size_ = 0;
};

// Rows as they are in the file. truncated: [rows]; heads: [rows], what each JSON row begins with, such as {"index": 3}.
std::string vector_rows(VectorFormat format, std::span<const float> vectors, int dim, std::span<const uint8_t> truncated,
                        std::span<const io::Tree> heads);

}  // namespace m2bert::cli
