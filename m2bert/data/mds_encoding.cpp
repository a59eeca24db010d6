#include "m2bert/data/mds_encoding.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "m2bert/error.h"
#include "m2bert/io/json.h"
#include "m2bert/io/npy.h"
#include "m2bert/io/utf8.h"

namespace m2bert::data {
namespace {

static_assert(std::endian::native == std::endian::little, "MDS stores little-endian values, which are copied as they are");

constexpr size_t kMaxDimensions = 63;

struct TypeFact {
  MdsType type;
  std::string_view name;
  size_t size;
  uint8_t code;  // stored in front of an array without a fixed type
};
constexpr std::array<TypeFact, 11> type_facts = {{
    {MdsType::uint8, "uint8", 1, 8},
    {MdsType::int8, "int8", 1, 9},
    {MdsType::uint16, "uint16", 2, 16},
    {MdsType::int16, "int16", 2, 17},
    {MdsType::float16, "float16", 2, 18},
    {MdsType::uint32, "uint32", 4, 32},
    {MdsType::int32, "int32", 4, 33},
    {MdsType::float32, "float32", 4, 34},
    {MdsType::uint64, "uint64", 8, 64},
    {MdsType::int64, "int64", 8, 65},
    {MdsType::float64, "float64", 8, 66},
}};

const TypeFact& fact_of(MdsType type) { return type_facts[static_cast<size_t>(type)]; }

std::optional<MdsType> type_named(std::string_view name) {
  for (const TypeFact& fact : type_facts)
    if (fact.name == name) return fact.type;
  return std::nullopt;
}

// The little-endian value at the front of the bytes.
template <class T>
T loaded(std::string_view bytes) {
  T value;
  std::copy_n(bytes.begin(), sizeof value, reinterpret_cast<char*>(&value));
  return value;
}

template <class T>
std::string stored(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string shown_shape(const std::vector<uint64_t>& shape) {
  std::string text;
  for (const uint64_t dim : shape) text += (text.empty() ? "" : ",") + std::to_string(dim);
  return text;
}

// Bytes of an array; nullopt if a shard cannot hold it.
std::optional<uint64_t> array_size(MdsType type, const std::vector<uint64_t>& shape) {
  uint64_t size = size_of(type);
  for (const uint64_t dim : shape) {
    if (dim == 0 || dim > UINT32_MAX || size > UINT32_MAX / dim) return std::nullopt;
    size *= dim;
  }
  return size;
}

std::optional<std::vector<uint64_t>> parse_shape(std::string_view text) {
  std::vector<uint64_t> shape;
  for (const char *at = text.data(), *end = at + text.size();;) {
    uint64_t dim = 0;
    const auto [stop, problem] = std::from_chars(at, end, dim);
    if (problem != std::errc() || dim == 0 || shape.size() == kMaxDimensions) return std::nullopt;
    shape.push_back(dim);
    if (stop == end) return shape;
    if (*stop != ',') return std::nullopt;
    at = stop + 1;
  }
}

// text: TYPE:SHAPE of "ndarray:TYPE:SHAPE".
std::optional<MdsEncoding> parse_array(std::string_view text) {
  MdsEncoding encoding{.kind = MdsEncoding::Kind::array};
  if (text.empty()) return encoding;
  const size_t colon = text.find(':');
  encoding.type = type_named(text.substr(0, colon));
  if (!encoding.type) return std::nullopt;
  if (colon == std::string_view::npos) return encoding;
  encoding.shape = parse_shape(text.substr(colon + 1));
  if (!encoding.shape || !array_size(*encoding.type, *encoding.shape)) return std::nullopt;
  return encoding;
}

// ---- reading ----

MdsValue decode_scalar(MdsType type, std::string_view bytes, const std::string& where) {
  require(bytes.size() == size_of(type), where, ": has ", bytes.size(), " bytes, wants the ", size_of(type), " of ", name_of(type));
  switch (type) {
    case MdsType::uint8: return uint64_t{loaded<uint8_t>(bytes)};
    case MdsType::uint16: return uint64_t{loaded<uint16_t>(bytes)};
    case MdsType::uint32: return uint64_t{loaded<uint32_t>(bytes)};
    case MdsType::uint64: return loaded<uint64_t>(bytes);
    case MdsType::int8: return int64_t{loaded<int8_t>(bytes)};
    case MdsType::int16: return int64_t{loaded<int16_t>(bytes)};
    case MdsType::int32: return int64_t{loaded<int32_t>(bytes)};
    case MdsType::int64: return loaded<int64_t>(bytes);
    case MdsType::float16: return static_cast<double>(io::from_float16(loaded<uint16_t>(bytes)));
    case MdsType::float32: return static_cast<double>(loaded<float>(bytes));
    case MdsType::float64: return loaded<double>(bytes);
  }
  fail(where, ": unknown type");
}

// Consumes one byte.
uint8_t next_byte(std::string_view& bytes, const std::string& where) {
  require(!bytes.empty(), where, ": an array without its type or shape");
  const auto byte = static_cast<uint8_t>(bytes.front());
  bytes.remove_prefix(1);
  return byte;
}

MdsType stored_type(std::string_view& bytes, const std::string& where) {
  const uint8_t code = next_byte(bytes, where);
  for (const TypeFact& fact : type_facts)
    if (fact.code == code) return fact.type;
  fail(where, ": an array of an unknown type (code ", static_cast<int>(code), ")");
}

// Stored as [number of dimensions << 2 | log2(bytes of each)] [dimensions].
std::vector<uint64_t> stored_shape(std::string_view& bytes, const std::string& where) {
  const uint8_t head = next_byte(bytes, where);
  const size_t width = size_t{1} << (head & 3), dimensions = head >> 2;
  require(bytes.size() >= width * dimensions, where, ": an array of ", dimensions, " dimensions that ends before they do");
  std::vector<uint64_t> shape;
  for (size_t i = 0; i < dimensions; ++i) {
    uint64_t dim = 0;
    std::memcpy(&dim, bytes.data() + i * width, width);
    shape.push_back(dim);
  }
  bytes.remove_prefix(width * dimensions);
  return shape;
}

MdsArray decode_array(const MdsEncoding& encoding, std::string_view bytes, const std::string& where) {
  MdsArray array;
  array.type = encoding.type ? *encoding.type : stored_type(bytes, where);
  array.shape = encoding.shape ? *encoding.shape : stored_shape(bytes, where);
  const auto size = array_size(array.type, array.shape);
  require(!array.shape.empty() && size == bytes.size(), where, ": an array of shape ", shown_shape(array.shape), " and type ",
          name_of(array.type), " does not fit in its ", bytes.size(), " bytes");
  array.bytes = bytes;
  return array;
}

std::string decode_text(std::string_view bytes, const std::string& where) {
  const auto bad = io::find_invalid_utf8(bytes);
  require(!bad, where, ": its text is not UTF-8 from byte ", bad.value_or(0), " on");
  return std::string(bytes);
}

bool all_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool is_integer_text(std::string_view text) {
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  return all_digits(text);
}

std::string lowered(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return out;
}

// As Python's decimal writes it: digits with a point and an exponent, Infinity, NaN or sNaN, the last two with optional digits.
bool is_decimal_text(std::string_view given) {
  std::string text = lowered(given);
  if (text.starts_with('-') || text.starts_with('+')) text.erase(0, 1);
  if (text == "infinity" || text == "inf") return true;
  for (const char* nan : {"snan", "nan"})
    if (text.starts_with(nan)) return text.size() == std::strlen(nan) || all_digits(std::string_view(text).substr(std::strlen(nan)));
  if (const size_t e = text.find('e'); e != std::string::npos) {
    if (!is_integer_text(std::string_view(text).substr(e + 1))) return false;
    text.resize(e);
  }
  if (const size_t point = text.find('.'); point != std::string::npos) text.erase(point, 1);
  return all_digits(text);
}

double decode_float_text(std::string_view bytes, const std::string& where) {
  double value = 0;
  const auto [end, problem] = std::from_chars(bytes.data(), bytes.data() + bytes.size(), value);
  const bool huge = problem == std::errc::result_out_of_range;
  require((problem == std::errc() || huge) && end == bytes.data() + bytes.size(), where, ": \"", io::printable(bytes, 60),
          "\" is no number");
  if (!huge) return value;
  // Python's float() returns infinity or zero here.
  const std::string text(bytes);
  return std::strtod(text.c_str(), nullptr);
}

// ---- writing ----

template <class T>
const T& value_as(const MdsValue& value, const char* what, const std::string& where) {
  const T* held = std::get_if<T>(&value);
  require(held != nullptr, where, ": wants ", what);
  return *held;
}

template <class T>
std::string stored_integer(const MdsValue& value, const std::string& where) {
  const auto* negative = std::get_if<int64_t>(&value);
  const auto* positive = std::get_if<uint64_t>(&value);
  require(negative || positive, where, ": wants an integer");
  const bool fits = negative ? std::in_range<T>(*negative) : std::in_range<T>(*positive);
  require(fits, where, ": ", negative ? std::to_string(*negative) : std::to_string(*positive), " is out of the range of its type");
  return negative ? stored(static_cast<T>(*negative)) : stored(static_cast<T>(*positive));
}

std::string encode_scalar(MdsType type, const MdsValue& value, const std::string& where) {
  switch (type) {
    case MdsType::uint8: return stored_integer<uint8_t>(value, where);
    case MdsType::uint16: return stored_integer<uint16_t>(value, where);
    case MdsType::uint32: return stored_integer<uint32_t>(value, where);
    case MdsType::uint64: return stored_integer<uint64_t>(value, where);
    case MdsType::int8: return stored_integer<int8_t>(value, where);
    case MdsType::int16: return stored_integer<int16_t>(value, where);
    case MdsType::int32: return stored_integer<int32_t>(value, where);
    case MdsType::int64: return stored_integer<int64_t>(value, where);
    case MdsType::float16: return stored(io::to_float16(static_cast<float>(value_as<double>(value, "a number", where))));
    case MdsType::float32: return stored(static_cast<float>(value_as<double>(value, "a number", where)));
    case MdsType::float64: return stored(value_as<double>(value, "a number", where));
  }
  fail(where, ": unknown type");
}

std::string encode_shape(const std::vector<uint64_t>& shape, const std::string& where) {
  require(shape.size() <= kMaxDimensions, where, ": an array of ", shape.size(), " dimensions, at most ", kMaxDimensions, " can be stored");
  const uint64_t largest = *std::max_element(shape.begin(), shape.end());
  const size_t log2 = largest < 1u << 8 ? 0 : largest < 1u << 16 ? 1 : 2;
  std::string out(1, static_cast<char>(shape.size() << 2 | log2));
  for (const uint64_t dim : shape) out.append(reinterpret_cast<const char*>(&dim), size_t{1} << log2);
  return out;
}

std::string encode_array(const MdsEncoding& encoding, const MdsArray& array, const std::string& where) {
  require(!array.shape.empty(), where, ": an array without dimensions cannot be stored; use a scalar encoding");
  const auto size = array_size(array.type, array.shape);
  require(size == array.bytes.size(), where, ": an array of shape ", shown_shape(array.shape), " and type ", name_of(array.type), " with ",
          array.bytes.size(), " bytes");
  require(!encoding.type || *encoding.type == array.type, where, ": an array of type ", name_of(array.type), ", wants ",
          name_of(encoding.type.value_or(array.type)));
  require(!encoding.shape || *encoding.shape == array.shape, where, ": an array of shape ", shown_shape(array.shape), ", wants ",
          shown_shape(encoding.shape.value_or(array.shape)));
  std::string out;
  if (!encoding.type) out += static_cast<char>(fact_of(array.type).code);
  if (!encoding.shape) out += encode_shape(array.shape, where);
  return out + array.bytes;
}

std::string encode_float_text(double value) {
  if (std::isnan(value)) return "nan";
  char text[40];
  return std::string(text, std::to_chars(text, text + sizeof text, value).ptr);
}

std::string checked_digits(const MdsValue& value, bool (*good)(std::string_view), const char* what, const std::string& where) {
  const auto& text = value_as<std::string>(value, what, where);
  require(good(text), where, ": \"", io::printable(text, 60), "\" is no ", what);
  return text;
}

}  // namespace

size_t size_of(MdsType type) { return fact_of(type).size; }
std::string_view name_of(MdsType type) { return fact_of(type).name; }

std::optional<uint64_t> MdsEncoding::size() const {
  if (kind == Kind::scalar) return size_of(*type);
  if (kind == Kind::array && type && shape) return array_size(*type, *shape);
  return std::nullopt;
}

std::optional<MdsEncoding> known_mds_encoding(std::string_view name) {
  using Kind = MdsEncoding::Kind;
  static constexpr std::array<std::pair<std::string_view, Kind>, 6> plain = {{{"bytes", Kind::bytes},
                                                                              {"str", Kind::str},
                                                                              {"str_int", Kind::str_int},
                                                                              {"str_float", Kind::str_float},
                                                                              {"str_decimal", Kind::str_decimal},
                                                                              {"json", Kind::json}}};
  for (const auto& [known, kind] : plain)
    if (name == known) return MdsEncoding{.kind = kind};
  if (name == "int") return MdsEncoding{.kind = Kind::scalar, .type = MdsType::int64};
  if (const auto type = type_named(name)) return MdsEncoding{.kind = Kind::scalar, .type = type};
  if (name == "ndarray") return MdsEncoding{.kind = Kind::array};
  if (name.starts_with("ndarray:")) return parse_array(name.substr(std::strlen("ndarray:")));
  return std::nullopt;
}

MdsEncoding parse_mds_encoding(std::string_view name, const std::string& where) {
  if (const auto encoding = known_mds_encoding(name)) return *encoding;
  require(name != "pkl", where,
          ": holds Python objects (pkl). They are not read: unpickling can run any program that the file names. Write the "
          "column as json, str or ndarray");
  for (const std::string_view image : {"pil", "jpeg", "jpeg_array", "jpegarray", "png", "list[pil]", "list[jpeg]", "list[png]"})
    require(name != image, where, ": holds images (", image, "), which are not read here");
  fail(where, ": the encoding \"", io::printable(name, 60),
       "\" is not known; there are bytes, str, int, uint8 to int64, float16, float32, float64, str_int, str_float, str_decimal, json and "
       "ndarray[:TYPE[:SHAPE]]");
}

MdsValue decode_mds(const MdsEncoding& encoding, std::string_view bytes, const std::string& where) {
  switch (encoding.kind) {
    case MdsEncoding::Kind::bytes: return std::string(bytes);
    case MdsEncoding::Kind::str: return decode_text(bytes, where);
    case MdsEncoding::Kind::scalar: return decode_scalar(*encoding.type, bytes, where);
    case MdsEncoding::Kind::array: return decode_array(encoding, bytes, where);
    case MdsEncoding::Kind::str_float: return decode_float_text(bytes, where);
    case MdsEncoding::Kind::json: return io::parse_json(bytes, where);
    case MdsEncoding::Kind::str_int:
      require(is_integer_text(bytes), where, ": \"", io::printable(bytes, 60), "\" is no integer");
      return std::string(bytes);
    case MdsEncoding::Kind::str_decimal:
      require(is_decimal_text(bytes), where, ": \"", io::printable(bytes, 60), "\" is no decimal number");
      return std::string(bytes);
  }
  fail(where, ": unknown encoding");
}

std::string encode_mds(const MdsEncoding& encoding, const MdsValue& value, const std::string& where) {
  switch (encoding.kind) {
    case MdsEncoding::Kind::bytes: return value_as<std::string>(value, "bytes", where);
    case MdsEncoding::Kind::str: return decode_text(value_as<std::string>(value, "text", where), where);
    case MdsEncoding::Kind::scalar: return encode_scalar(*encoding.type, value, where);
    case MdsEncoding::Kind::array: return encode_array(encoding, value_as<MdsArray>(value, "an array", where), where);
    case MdsEncoding::Kind::str_float: return encode_float_text(value_as<double>(value, "a number", where));
    case MdsEncoding::Kind::json: return io::to_json(value_as<io::Tree>(value, "a JSON value", where));
    case MdsEncoding::Kind::str_int: return checked_digits(value, is_integer_text, "integer", where);
    case MdsEncoding::Kind::str_decimal: return checked_digits(value, is_decimal_text, "decimal number", where);
  }
  fail(where, ": unknown encoding");
}

}  // namespace m2bert::data
