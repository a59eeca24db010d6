#include "m2bert/search/quantize.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "m2bert/error.h"

namespace m2bert::search {
namespace {

static_assert(std::endian::native == std::endian::little, "float32 rows are written in the machine's byte order");

constexpr const char* names[] = {"float32", "int8", "uint8", "binary", "ubinary"};
constexpr uint8_t offset = 0x80;  // adding or taking away 128 flips this bit
constexpr size_t byte_bits = 8;

// Which of up to eight values are above 0, from the highest bit on.
uint8_t bits_of(const float* values, size_t count) {
  unsigned bits = 0;
  if (count == byte_bits) {
    for (size_t i = 0; i < byte_bits; ++i) bits |= static_cast<unsigned>(values[i] > 0) << (byte_bits - 1 - i);
  } else {
    for (size_t i = 0; i < count; ++i) bits |= static_cast<unsigned>(values[i] > 0) << (byte_bits - 1 - i);
  }
  return static_cast<uint8_t>(bits);
}

}  // namespace

Precision precision_named(const std::string& name) {
  for (size_t i = 0; i < std::size(names); ++i)
    if (name == names[i]) return static_cast<Precision>(i);
  fail("'", name, "' is no precision of vectors; there are float32, int8, uint8, binary and ubinary");
}

const char* name_of(Precision precision) { return names[static_cast<size_t>(precision)]; }

size_t bytes_of(Precision precision, size_t dim) {
  if (precision == Precision::float32) return dim * sizeof(float);
  return is_binary(precision) ? (dim + byte_bits - 1) / byte_bits : dim;
}

void widen(Ranges& ranges, std::span<const float> vectors, size_t dim) {
  require(dim > 0 && vectors.size() % dim == 0, "[widen] ", vectors.size(), " values are no vectors of ", dim, " dimensions");
  if (vectors.empty()) return;
  if (ranges.empty()) {
    ranges.low.assign(vectors.begin(), vectors.begin() + static_cast<std::ptrdiff_t>(dim));
    ranges.high = ranges.low;
  }
  require(ranges.low.size() == dim, "[widen] the ranges have ", ranges.low.size(), " dimensions, the vectors ", dim);
  for (size_t row = 0; row < vectors.size(); row += dim) {
    for (size_t i = 0; i < dim; ++i) {
      ranges.low[i] = std::min(ranges.low[i], vectors[row + i]);
      ranges.high[i] = std::max(ranges.high[i], vectors[row + i]);
    }
  }
}

Quantizer::Quantizer(Precision precision, size_t dim, Ranges ranges) : precision_(precision), dim_(dim), ranges_(std::move(ranges)) {
  require(dim > 0, "[Quantizer] wants vectors of at least one dimension");
  if (!is_scalar(precision)) return;
  require(ranges_.low.size() == dim && ranges_.high.size() == dim, "[Quantizer] the ranges have ", ranges_.low.size(),
          " dimensions, the vectors ", dim);
  for (size_t i = 0; i < dim; ++i) {
    require(std::isfinite(ranges_.low[i]) && std::isfinite(ranges_.high[i]), "[Quantizer] the range of dimension ", i, " is not finite");
    const float step = (ranges_.high[i] - ranges_.low[i]) / 255.0f;
    steps_.push_back(step == 0 ? 1.0f : step);
  }
}

void Quantizer::encode_row(const float* vector, uint8_t* out) const {
  if (precision_ == Precision::float32) {
    std::memcpy(out, vector, row_bytes());
    return;
  }
  const uint8_t flip = precision_ == Precision::int8 || precision_ == Precision::binary ? offset : 0;
  if (is_scalar(precision_)) {
    for (size_t i = 0; i < dim_; ++i) {
      const float step = std::clamp(std::floor((vector[i] - ranges_.low[i]) / steps_[i]), 0.0f, 255.0f);
      out[i] = static_cast<uint8_t>(step) ^ flip;
    }
    return;
  }
  for (size_t byte = 0; byte < row_bytes(); ++byte)
    out[byte] = bits_of(vector + byte * byte_bits, std::min(byte_bits, dim_ - byte * byte_bits)) ^ flip;
}

std::vector<uint8_t> Quantizer::encode(std::span<const float> vectors) const {
  require(vectors.size() % dim_ == 0, "[Quantizer] ", vectors.size(), " values are no vectors of ", dim_, " dimensions");
  std::vector<uint8_t> out(vectors.size() / dim_ * row_bytes());
  encode_into(vectors, out.data());
  return out;
}

void Quantizer::encode_into(std::span<const float> vectors, uint8_t* out) const {
  const size_t rows = vectors.size() / dim_, bytes = row_bytes();
  for (size_t row = 0; row < rows; ++row) encode_row(vectors.data() + row * dim_, out + row * bytes);
}

void Quantizer::decode(std::span<const uint8_t> rows, std::span<float> out) const {
  const size_t count = rows.size() / row_bytes();
  require(rows.size() == count * row_bytes() && out.size() == count * dim_, "[Quantizer] ", rows.size(), " bytes are no ", out.size(),
          " values of vectors of ", dim_, " dimensions");
  if (precision_ == Precision::float32) {
    std::memcpy(out.data(), rows.data(), rows.size());
    return;
  }
  const uint8_t flip = precision_ == Precision::int8 || precision_ == Precision::binary ? offset : 0;
  for (size_t row = 0; row < count; ++row) {
    const uint8_t* from = rows.data() + row * row_bytes();
    float* to = out.data() + row * dim_;
    for (size_t i = 0; i < dim_; ++i) {
      if (is_scalar(precision_)) to[i] = static_cast<float>(from[i] ^ flip) * steps_[i] + ranges_.low[i];
      else to[i] = static_cast<float>((from[i / byte_bits] ^ flip) >> (byte_bits - 1 - i % byte_bits) & 1);
    }
  }
}

}  // namespace m2bert::search
