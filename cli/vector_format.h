#pragma once
// Vectors as bytes: npy, safetensors or JSON lines. Headers have a fixed size, so that they can be written last.
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "m2bert/io/tree.h"
#include "m2bert/search/quantize.h"

namespace m2bert::cli {

enum class VectorFormat { npy, safetensors, jsonl };

// By the file's extension (.npy, .safetensors, .jsonl, .json, .ndjson). Error for any other.
VectorFormat vector_format_of(const std::filesystem::path& file);
VectorFormat vector_format_named(const std::string& name);  // "npy", "safetensors", "jsonl"
const char* name_of(VectorFormat format);

// An int64 tensor of a safetensors file that says of each row what it is. Its bytes follow those of the rows.
struct VectorIndex {
  std::string name;  // empty: there is none
  size_t columns = 0;
};

// The header of npy and safetensors files: the tensor "embeddings", and for int8 and uint8 "ranges" [2, dim] with the smallest and the
// largest value of each dimension. Its size does not depend on the number of rows.
class VectorHeader {
 public:
  // metadata: what safetensors files record beside the vectors.
  VectorHeader(VectorFormat format, const search::Quantizer& quantizer, std::map<std::string, std::string> metadata,
               VectorIndex index = {});
  // 0 for JSON lines, which have none.
  size_t size() const { return size_; }
  // The header of a file with that many rows.
  std::string text(uint64_t rows) const;

 private:
  std::string safetensors_json(uint64_t rows) const;
  size_t json_size() const;

  VectorFormat format_;
  search::Precision precision_;
  size_t row_bytes_, columns_;
  std::vector<float> ranges_;  // [2, dim]; empty: none
  std::map<std::string, std::string> metadata_;
  VectorIndex index_;
  size_t size_ = 0;
};

// Rows of vectors as they are in the file: bytes, or JSON lines that begin with the members of `heads` [rows] and end with "embedding",
// preceded by "precision" if that is not float32.
std::string vector_rows(VectorFormat format, const search::Quantizer& quantizer, std::span<const float> vectors,
                        std::span<const io::Tree> heads);

// Appends a vector as a JSON list of its numbers, or of its bytes as they are in npy files.
void append_json_vector(std::string& out, const search::Quantizer& quantizer, std::span<const float> vector);

}  // namespace m2bert::cli
