#pragma once
// The header of a safetensors file, checked more strictly than by MLX's reader: no overlaps, no bytes left over.
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
  std::vector<SafetensorsEntry> entries;  // in the order of their bytes, contiguous up to the end of the file
  std::map<std::string, std::string> metadata;
};

// Reads the header of a whole mapped file, without the values. Errors name `name`, the byte offset or the tensor.
SafetensorsHeader read_safetensors_header(std::span<const std::byte> file, const std::string& name);

}  // namespace m2bert::checkpoint
