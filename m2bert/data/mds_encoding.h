#pragma once
// How a column of an MDS data set (MosaicML Streaming) stores its values, and the values themselves.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "m2bert/io/tree.h"

namespace m2bert::data {

enum class MdsType { uint8, int8, uint16, int16, float16, uint32, int32, float32, uint64, int64, float64 };
size_t size_of(MdsType type);            // in bytes
std::string_view name_of(MdsType type);  // NumPy's name, such as "int64"

// A NumPy array: little-endian values in row-major order.
struct MdsArray {
  MdsType type = MdsType::uint8;
  std::vector<uint64_t> shape;
  std::string bytes;
  bool operator==(const MdsArray&) const = default;
};

// Text and bytes are strings, and so are str_int and str_decimal, whose precision is unlimited. Signed, unsigned and floating-point numbers
// of every width are widened to one type each.
using MdsValue = std::variant<std::string, int64_t, uint64_t, double, MdsArray, io::Tree>;

// "bytes", "str", "int", "uint8" ... "int64", "float16" ... "float64", "str_int", "str_float", "str_decimal", "json", "ndarray",
// "ndarray:int32" (fixed type) and "ndarray:int32:3,4" (fixed type and shape).
struct MdsEncoding {
  enum class Kind { bytes, str, scalar, array, str_int, str_float, str_decimal, json };
  Kind kind = Kind::bytes;
  std::optional<MdsType> type;                 // of a scalar, or of an array of fixed type
  std::optional<std::vector<uint64_t>> shape;  // of an array of fixed shape

  // Bytes of a value; nullopt if the size varies.
  std::optional<uint64_t> size() const;
};

// Throws for unsupported encodings: images, and Python objects, which are never unpickled. where: file and column, for errors.
MdsEncoding parse_mds_encoding(std::string_view name, const std::string& where);
// The same, but nullopt for unsupported encodings.
std::optional<MdsEncoding> known_mds_encoding(std::string_view name);

// Throws if the bytes are not a value of the encoding: a wrong size, text that is not UTF-8, a malformed number.
MdsValue decode_mds(const MdsEncoding& encoding, std::string_view bytes, const std::string& where);
// Throws if the value is of the wrong kind or out of range, or if an array's type or shape is not the encoding's.
std::string encode_mds(const MdsEncoding& encoding, const MdsValue& value, const std::string& where);

}  // namespace m2bert::data
