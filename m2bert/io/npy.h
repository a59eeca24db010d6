#pragma once
// NumPy's .npy files: matrices of float32 and float16.
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "m2bert/io/file.h"

namespace m2bert::io {

enum class NpyType { float32, float16 };

// The header of a C-ordered [rows, columns] matrix. Always kNpyHeader bytes, so that it can be overwritten once the
// number of rows is known.
inline constexpr size_t kNpyHeader = 128;
std::string npy_header(NpyType type, uint64_t rows, uint64_t columns);

// IEEE half precision, rounded to nearest even; too large becomes infinity.
uint16_t to_float16(float value);
float from_float16(uint16_t bits);

// A mapped .npy file, and where its values are.
struct NpyView {
  MappedFile file;
  std::string type;  // NumPy's: "<f4", "<i8"
  uint64_t rows = 0, columns = 0;
  size_t offset = 0;  // of the first value
};

// One or two dimensions (one: a single column) of float16, float32 or float64, C order, little endian. Errors name the file: other types
// and orders, sizes that do not fit the file.
NpyView map_npy(const std::filesystem::path& file);

struct NpyMatrix {
  std::vector<float> values;  // [rows, columns], row-major
  uint64_t rows = 0, columns = 0;
};

// The values of map_npy as float32.
NpyMatrix read_npy(const std::filesystem::path& file);
void write_npy(const std::filesystem::path& file, const std::vector<float>& values, uint64_t rows, uint64_t columns,
               NpyType type = NpyType::float32);

}  // namespace m2bert::io
