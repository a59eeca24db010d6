#pragma once
// NumPy's .npy files: matrices of floats, and of bytes.
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "m2bert/io/file.h"

namespace m2bert::io {

enum class NpyType { float32, float16, int8, uint8 };

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
  std::string type;  // NumPy's: "<f2", "<f4", "<f8", "|i1", "|u1"
  uint64_t rows = 0, columns = 0;
  size_t offset = 0;  // of the first value
};

// One or two dimensions (one: a single column) of float16, float32, float64, int8 or uint8, C order, little endian. Errors name the file:
// other types and orders, sizes that do not fit the file.
NpyView map_npy(const std::filesystem::path& file);

struct NpyMatrix {
  std::vector<float> values;  // [rows, columns], row-major
  uint64_t rows = 0, columns = 0;
};

// The values of map_npy as float32. Error for int8 and uint8, which stand for other numbers than themselves in quantized vectors.
NpyMatrix read_npy(const std::filesystem::path& file);
// type: float32 or float16.
void write_npy(const std::filesystem::path& file, const std::vector<float>& values, uint64_t rows, uint64_t columns,
               NpyType type = NpyType::float32);

}  // namespace m2bert::io
