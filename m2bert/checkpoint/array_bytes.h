#pragma once
// Arrays and their bytes in files: filling a new array from a file, and looking at arrays that are to be written.
#include <span>

#include "m2bert/checkpoint/tensor_file.h"
#include "m2bert/io/file.h"

namespace m2bert::checkpoint {

// Error for a shape that MLX cannot hold.
mx::Shape shape_of(const TensorInfo& tensor, const std::string& file);

// A new array whose bytes are yet to be filled; bytes is its memory. Error for a shape that MLX cannot hold.
struct NewArray {
  mx::array array;
  std::span<std::byte> bytes;
};
NewArray new_array(const TensorInfo& tensor, const std::string& file);

// Reads a range of the file straight into `out`, a piece at a time; gives the CRC-32 of what was read if asked to.
void read_into(const io::RandomFile& file, uint64_t offset, std::span<std::byte> out, uint32_t* crc = nullptr);

// Makes every byte of a bool tensor 0 or 1.
void clean_bools(std::span<std::byte> bytes);

// An evaluated, row-contiguous array ready to be written.
struct WrittenArray {
  std::string name;
  mx::array array;
  std::span<const std::byte> bytes;
  size_t first;  // index of the first entry that is the same memory; its own index for most
};
// Error on names that are empty, repeated or no UTF-8.
std::vector<WrittenArray> written_arrays(const TensorMap& tensors, const std::string& file);

}  // namespace m2bert::checkpoint
