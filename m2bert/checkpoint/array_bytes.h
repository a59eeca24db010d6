#pragma once
// Arrays and their bytes: filling a new array from a file, and preparing arrays to be written.
#include <span>

#include "m2bert/checkpoint/tensor_file.h"
#include "m2bert/io/file.h"

namespace m2bert::checkpoint {

// Throws for a shape that MLX cannot hold.
mx::Shape shape_of(const TensorInfo& tensor, const std::string& file);

// A new, uninitialised array; bytes is its memory. Throws for a shape that MLX cannot hold.
struct NewArray {
  mx::array array;
  std::span<std::byte> bytes;
};
NewArray new_array(const TensorInfo& tensor, const std::string& file);

// Reads a range of the file into `out`, block by block. With crc, updates the CRC-32 with the bytes read.
void read_into(const io::RandomFile& file, uint64_t offset, std::span<std::byte> out, uint32_t* crc = nullptr);

// Sets every nonzero byte of a bool tensor to 1.
void clean_bools(std::span<std::byte> bytes);

// An evaluated, row-contiguous array ready to be written.
struct WrittenArray {
  std::string name;
  mx::array array;
  std::span<const std::byte> bytes;
  size_t first;  // index of the first entry with the same memory; usually its own
};
// Throws on names that are empty, repeated or not UTF-8.
std::vector<WrittenArray> written_arrays(const TensorMap& tensors, const std::string& file);

}  // namespace m2bert::checkpoint
