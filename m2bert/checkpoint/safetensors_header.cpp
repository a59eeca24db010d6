#include "m2bert/checkpoint/safetensors_header.h"

#include <algorithm>
#include <limits>
#include <string_view>
#include <tuple>

#include "m2bert/checkpoint/dtype.h"
#include "m2bert/checkpoint/text.h"
#include "m2bert/error.h"
#include "m2bert/io/json.h"

namespace m2bert::checkpoint {
namespace {

constexpr uint64_t most_header_bytes = 100'000'000;  // the format's own limit
constexpr size_t most_dimensions = 64;
constexpr size_t most_values = 4'000'000;

uint64_t whole(const io::Tree& t, int64_t most, const char* what) {
  if (!t.is_integer()) t.wants(std::string(what) + " as a whole number");
  return static_cast<uint64_t>(t.integer(0, most));
}

SafetensorsEntry read_entry(const io::Tree::Member& member, uint64_t data_bytes, const std::string& name) {
  const io::Tree& t = member.value;
  std::string shown = name + ": tensor '" + printable(member.key) + "'";
  require(t.is_map(), shown, " is described by ", t.shown(), ", wants a map");
  require(t.contains("dtype") && t.contains("shape") && t.contains("data_offsets") && t.size() == 3, shown,
          " wants dtype, shape, data_offsets and nothing else");
  SafetensorsEntry e;
  e.name = member.key;
  const std::string& dtype = t.at("dtype").string();
  auto known = from_safetensors_dtype(dtype);
  require(known.has_value(), shown, " has the unknown dtype '", printable(dtype, 40), "'");
  e.dtype = *known;
  uint64_t bits = static_cast<uint64_t>(*dtype_bits(e.dtype));
  const auto& dims = t.at("shape").items();
  require(dims.size() <= most_dimensions, shown, " has ", dims.size(), " dimensions, the limit is ", most_dimensions);
  for (const auto& d : dims) {
    uint64_t n = whole(d, std::numeric_limits<int32_t>::max(), "a dimension from 0 to 2147483647");
    e.shape.push_back(static_cast<int64_t>(n));
  }
  for (auto n : e.shape) {
    auto product = multiply(bits, static_cast<uint64_t>(n));
    require(product.has_value(), shown, " has a shape that overflows 64 bits");
    bits = *product;
  }
  require(bits % 8 == 0, shown, " of ", dtype, " has ", bits, " bits, which are no whole bytes");
  const uint64_t bytes = bits / 8;
  const auto& offsets = t.at("data_offsets").items();
  require(offsets.size() == 2, shown, " has ", offsets.size(), " data_offsets, wants 2");
  uint64_t begin = whole(offsets[0], std::numeric_limits<int64_t>::max(), "an offset"),
           end = whole(offsets[1], std::numeric_limits<int64_t>::max(), "an offset");
  require(begin <= end && end <= data_bytes, shown, " lies at bytes ", begin, " to ", end, " of ", data_bytes, " (truncated?)");
  require(end - begin == bytes, shown, " has ", end - begin, " bytes where its shape and dtype need ", bytes);
  e.offset = begin;
  e.bytes = bytes;
  return e;
}

void read_metadata(const io::Tree& t, SafetensorsHeader& header, const std::string& name) {
  require(t.is_map(), name, ": __metadata__ is ", t.shown(), ", wants a map of strings");
  for (const auto& m : t.members()) {
    require(m.value.is_string(), name, ": __metadata__ '", printable(m.key), "' is ", m.value.shown(), ", wants a string");
    header.metadata.emplace(m.key, m.value.string());
  }
}

// The bytes of the entries must cover the data exactly.
void check_layout(SafetensorsHeader& header, uint64_t data_at, uint64_t data_bytes, const std::string& name) {
  std::sort(header.entries.begin(), header.entries.end(),
            [](auto& a, auto& b) { return std::tie(a.offset, a.bytes, a.name) < std::tie(b.offset, b.bytes, b.name); });
  uint64_t expected = 0;
  for (auto& e : header.entries) {
    require(e.offset >= expected, name, ": tensor '", printable(e.name), "' overlaps the one before it (byte ", data_at + e.offset, ")");
    require(e.offset <= expected, name, ": a hole of ", e.offset - expected, " bytes before tensor '", printable(e.name), "' (byte ",
            data_at + expected, ")");
    expected += e.bytes;
    e.offset += data_at;
  }
  require(expected == data_bytes, name, ": byte ", data_at + expected, ": ", data_bytes - expected, " bytes after the last tensor");
}

}  // namespace

SafetensorsHeader read_safetensors_header(std::span<const std::byte> file, const std::string& name) {
  require(file.size() >= 8, name, ": not a safetensors file: ", file.size(), " bytes");
  uint64_t length = 0;
  for (size_t i = 8; i-- > 0;) length = length << 8 | static_cast<uint8_t>(file[i]);
  require(length <= most_header_bytes, name, ": byte 0: a header of ", length, " bytes; the limit is ", most_header_bytes);
  require(length <= file.size() - 8, name, ": byte 0: a header of ", length, " bytes where ", file.size() - 8, " are left (truncated?)");
  std::string_view text(reinterpret_cast<const char*>(file.data()) + 8, static_cast<size_t>(length));
  require(!text.empty() && text.front() == '{', name, ": byte 8: the header is not a JSON object");
  require(valid_utf8(text), name, ": the header is not UTF-8");
  io::Tree tree = io::parse_json(text, name + " (header)", {.depth = 8, .values = most_values});
  require(tree.is_map(), name, ": byte 8: the header is not a JSON object");
  SafetensorsHeader header;
  uint64_t data_at = 8 + length, data_bytes = file.size() - data_at;
  for (const auto& member : tree.members()) {
    if (member.key == "__metadata__" && member.value.is_null()) continue;  // as the safetensors package reads it
    if (member.key == "__metadata__") read_metadata(member.value, header, name);
    else header.entries.push_back(read_entry(member, data_bytes, name));
  }
  check_layout(header, data_at, data_bytes, name);
  return header;
}

}  // namespace m2bert::checkpoint
