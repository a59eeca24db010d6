#pragma once
// Vectors in fewer bytes, as sentence-transformers' quantize_embeddings makes them: equal bytes for equal float32 vectors.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace m2bert::search {

enum class Precision {
  float32,
  int8,     // one of 256 steps between the ranges' ends for each dimension, -128 to 127
  uint8,    // the same, 0 to 255
  binary,   // a bit a dimension, 1 where the value is above 0, eight to a byte, the first in the highest bit; the byte minus 128
  ubinary,  // the same without the minus
};

// "float32", "int8", "uint8", "binary", "ubinary". Error for any other name.
Precision precision_named(const std::string& name);
const char* name_of(Precision precision);

inline bool is_binary(Precision precision) { return precision == Precision::binary || precision == Precision::ubinary; }
inline bool is_scalar(Precision precision) { return precision == Precision::int8 || precision == Precision::uint8; }

// Bytes of a vector of dim values.
size_t bytes_of(Precision precision, size_t dim);

// The smallest and the largest value of each dimension; empty: no vectors yet.
struct Ranges {
  std::vector<float> low, high;  // [dim]
  bool empty() const { return low.empty(); }
};

// Widens the ranges to hold the vectors [n, dim]. Error: their size is no multiple of dim, or the ranges have another number of dimensions.
void widen(Ranges& ranges, std::span<const float> vectors, size_t dim);

class Quantizer {
 public:
  // ranges: for int8 and uint8. Error if they are needed and have another number of dimensions than dim, or are not finite.
  Quantizer(Precision precision, size_t dim, Ranges ranges = {});

  Precision precision() const { return precision_; }
  size_t dim() const { return dim_; }
  size_t row_bytes() const { return bytes_of(precision_, dim_); }
  const Ranges& ranges() const { return ranges_; }

  // Vectors [n, dim] -> n * row_bytes() bytes. Values outside the ranges get their ends.
  std::vector<uint8_t> encode(std::span<const float> vectors) const;
  // The same into memory that has room for them; throws nothing.
  void encode_into(std::span<const float> vectors, uint8_t* out) const;
  // The values of rows of bytes as float32 [n, dim]: the lower end of the step that an int8 or uint8 stands for; 0 or 1 for a bit.
  void decode(std::span<const uint8_t> rows, std::span<float> out) const;

 private:
  void encode_row(const float* vector, uint8_t* out) const;

  Precision precision_;
  size_t dim_;
  Ranges ranges_;
  std::vector<float> steps_;  // [dim]
};

}  // namespace m2bert::search
