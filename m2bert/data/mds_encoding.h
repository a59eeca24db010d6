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
std::string_view name_of(MdsType type);  // "int64", as NumPy says it

// An array of NumPy: values little endian, the last dimension running fastest.
struct MdsArray {
  MdsType type = MdsType::uint8;
  std::vector<uint64_t> shape;
  std::string bytes;
  bool operator==(const MdsArray&) const = default;
};

// Text and bytes are strings; so are str_int and str_decimal, whose digits fit no number here. Signed, unsigned and floating numbers of any
// width are one type each.
using MdsValue = std::variant<std::string, int64_t, uint64_t, double, MdsArray, io::Tree>;

// "bytes", "str", "int", "uint8" ... "int64", "float16" ... "float64", "str_int", "str_float", "str_decimal", "json", "ndarray",
// "ndarray:int32" (always of that type) and "ndarray:int32:3,4" (and of that shape).
struct MdsEncoding {
  enum class Kind { bytes, str, scalar, array, str_int, str_float, str_decimal, json };
  Kind kind = Kind::bytes;
  std::optional<MdsType> type;                 // of a scalar; of an array that is always of one type
  std::optional<std::vector<uint64_t>> shape;  // of an array that is always of one shape

  // Bytes of every value, where that is fixed.
  std::optional<uint64_t> size() const;
};

// Error for encodings that are not read: images, and Python objects, which are never unpickled. `where` names file and column.
MdsEncoding parse_mds_encoding(std::string_view name, const std::string& where);
// The same without an error; nullopt for those.
std::optional<MdsEncoding> known_mds_encoding(std::string_view name);

// Error for bytes that are no value of the encoding: wrong sizes, text that is not UTF-8, numbers with other characters.
MdsValue decode_mds(const MdsEncoding& encoding, std::string_view bytes, const std::string& where);
// Error for a value of another kind, out of range, or of another type or shape than the encoding's.
std::string encode_mds(const MdsEncoding& encoding, const MdsValue& value, const std::string& where);

}  // namespace m2bert::data
