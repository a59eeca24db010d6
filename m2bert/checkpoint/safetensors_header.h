#pragma once
// The header of a safetensors file, checked more strictly than MLX's reader does: nothing overlaps, nothing is left over.
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace m2bert::checkpoint {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;           // torch's name
  std::vector<int64_t> shape;  // each dimension from 0 to 2^31-1
  uint64_t offset = 0;         // in the file
  uint64_t bytes = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // in the order of their bytes, which follow one another without gaps to the file's end
  std::map<std::string, std::string> metadata;
};

// Reads the header of a whole mapped file; the values are not touched. Error names `name`, the byte offset or the tensor.
SafetensorsHeader read_safetensors_header(std::span<const std::byte> file, const std::string& name);

}  // namespace m2bert::checkpoint
