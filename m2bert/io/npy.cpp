#include "m2bert/io/npy.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>

#include "m2bert/error.h"
#include "m2bert/io/file.h"

namespace m2bert::io {
namespace {

static_assert(std::endian::native == std::endian::little, ".npy files are read and written as little endian");

constexpr std::string_view kMagic = "\x93NUMPY";

struct Header {
  std::string type;
  std::vector<uint64_t> shape;
  size_t size = 0;  // of everything before the data
};

// Parses NumPy's header: a Python dictionary of three known keys, and nothing else.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& file) : text_(text), file_(file) {}

  Header parse() {
    Header header;
    bool type = false, order = false, shape = false;
    expect('{');
    while (!take('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr" && !type) {
        header.type = quoted();
        type = true;
      } else if (key == "fortran_order" && !order) {
        order = true;
        const bool fortran = word("True");
        if (!fortran && !word("False")) refuse();
        require(!fortran, file_, ": its array is in Fortran order; only C order is read");
      } else if (key == "shape" && !shape) {
        header.shape = tuple();
        shape = true;
      } else {
        refuse();
      }
      if (!take(',')) {
        expect('}');
        break;
      }
    }
    space();
    if (!type || !order || !shape || at_ != text_.size()) refuse();
    return header;
  }

 private:
  [[noreturn]] void refuse() const { fail(file_, ": its .npy header is damaged"); }
  void space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }
  bool take(char c) {
    space();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!take(c)) refuse();
  }
  bool word(std::string_view word) {
    space();
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }
  std::string quoted() {
    expect('\'');
    const size_t end = text_.find('\'', at_);
    if (end == std::string_view::npos) refuse();
    std::string out(text_.substr(at_, end - at_));
    at_ = end + 1;
    return out;
  }
  std::vector<uint64_t> tuple() {
    std::vector<uint64_t> out;
    expect('(');
    while (!take(')')) {
      space();
      const size_t begin = at_;
      uint64_t value = 0;
      for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
        if (value > (uint64_t{1} << 59)) refuse();
        value = value * 10 + static_cast<uint64_t>(text_[at_] - '0');
      }
      if (at_ == begin || out.size() > 32) refuse();
      out.push_back(value);
      if (!take(',')) {
        expect(')');
        break;
      }
    }
    return out;
  }

  std::string_view text_;
  const std::string& file_;
  size_t at_ = 0;
};

Header read_header(std::string_view bytes, const std::string& file) {
  require(bytes.size() >= 10 && bytes.substr(0, kMagic.size()) == kMagic, file, ": is not an .npy file");
  const auto byte = [&](size_t i) { return static_cast<size_t>(static_cast<unsigned char>(bytes[i])); };
  const size_t version = byte(6), length_size = version == 1 ? 2 : 4;
  require(version >= 1 && version <= 3, file, ": is of .npy version ", version, "; 1 to 3 are read");
  require(bytes.size() >= 8 + length_size, file, ": is truncated in its header");
  size_t length = 0;
  for (size_t i = 0; i < length_size; ++i) length |= byte(8 + i) << (8 * i);
  const size_t begin = 8 + length_size;
  require(length <= bytes.size() - begin && length <= 65536, file, ": is truncated in its header");
  Header header = HeaderParser(bytes.substr(begin, length), file).parse();
  header.size = begin + length;
  return header;
}

// Bytes of a value; 0 for types that are not read.
size_t width_of(const std::string& type) {
  if (type == "|i1" || type == "|u1") return 1;
  return type == "<f4" ? 4 : type == "<f2" ? 2 : type == "<f8" ? 8 : 0;
}

const char* name_of(NpyType type) {
  switch (type) {
    case NpyType::float32: return "<f4";
    case NpyType::float16: return "<f2";
    case NpyType::int8: return "|i1";
    case NpyType::uint8: return "|u1";
  }
  return "";
}

template <class T, class Convert>
void convert(std::string_view data, std::vector<float>& out, Convert value) {
  for (size_t i = 0; i < out.size(); ++i) {
    T raw;
    std::memcpy(&raw, data.data() + i * sizeof(T), sizeof(T));
    out[i] = value(raw);
  }
}

}  // namespace

std::string npy_header(NpyType type, uint64_t rows, uint64_t columns) {
  std::string text = std::string("{'descr': '") + name_of(type) + "', 'fortran_order': False, 'shape': (";
  text += std::to_string(rows) + ", " + std::to_string(columns) + "), }";
  std::string out(kMagic);
  out += {'\x01', '\x00', static_cast<char>(kNpyHeader - 10), '\x00'};
  require(out.size() + text.size() + 1 <= kNpyHeader, "npy: the shape does not fit its header");
  out += text;
  out.append(kNpyHeader - 1 - out.size(), ' ');
  return out + '\n';
}

uint16_t to_float16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) return static_cast<uint16_t>(sign | 0x7E00 | (magnitude >> 13 & 0x3FF));  // NaN
  if (magnitude >= 0x477FF000) return static_cast<uint16_t>(sign | 0x7C00);                             // rounds to 65536 or more
  if (magnitude < 0x38800000) {  // below the smallest normal: adding 0.5 leaves the rounded subnormal in the low bits
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3F000000));
  }
  const uint32_t rounded = magnitude + 0xFFF + (magnitude >> 13 & 1);
  return static_cast<uint16_t>(sign | (rounded - 0x38000000) >> 13);
}

float from_float16(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16, rest = bits & 0x7FFF;
  if (rest >= 0x7C00) return std::bit_cast<float>(sign | 0x7F800000 | (rest & 0x3FF) << 13);
  if (rest < 0x400) {
    const float value = std::ldexp(static_cast<float>(rest), -24);
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(value));
  }
  return std::bit_cast<float>(sign | ((rest << 13) + 0x38000000));
}

NpyView map_npy(const std::filesystem::path& path) {
  NpyView out{MappedFile(path), "", 0, 0, 0};
  const std::string file = path.string();
  const std::string_view bytes(reinterpret_cast<const char*>(out.file.bytes().data()), out.file.bytes().size());
  const Header header = read_header(bytes, file);
  require(header.shape.size() == 1 || header.shape.size() == 2, file, ": its array has ", header.shape.size(), " dimensions, wants 1 or 2");
  out.rows = header.shape[0];
  out.columns = header.shape.size() == 2 ? header.shape[1] : 1;
  out.type = header.type;
  out.offset = header.size;
  const size_t width = width_of(header.type);
  require(width > 0, file, ": its array has the type ", header.type, "; <f2, <f4, <f8, |i1 and |u1 are read");
  const size_t data = bytes.size() - header.size;
  const bool fits = out.columns == 0 || out.rows <= data / out.columns;
  require(fits && out.rows * out.columns * width == data, file, ": has ", data, " bytes of data, its shape [", out.rows, ", ", out.columns,
          "] wants another size");
  return out;
}

NpyMatrix read_npy(const std::filesystem::path& path) {
  const NpyView view = map_npy(path);
  const std::string_view data(reinterpret_cast<const char*>(view.file.bytes().data()) + view.offset,
                              view.file.bytes().size() - view.offset);
  NpyMatrix out{std::vector<float>(view.rows * view.columns), view.rows, view.columns};
  const size_t width = width_of(view.type);
  require(width > 1, path.string(), ": its array has the type ", view.type, "; <f2, <f4 and <f8 are read here");
  if (width == 4) convert<float>(data, out.values, [](float v) { return v; });
  if (width == 2) convert<uint16_t>(data, out.values, from_float16);
  if (width == 8) convert<double>(data, out.values, [](double v) { return static_cast<float>(v); });
  return out;
}

void write_npy(const std::filesystem::path& file, const std::vector<float>& values, uint64_t rows, uint64_t columns, NpyType type) {
  require(columns == 0 ? values.empty() : values.size() % columns == 0 && values.size() / columns == rows, file.string(), ": ",
          values.size(), " values do not make the shape [", rows, ", ", columns, "]");
  require(type == NpyType::float32 || type == NpyType::float16, file.string(), ": floats are written as float32 or float16");
  AtomicFile out(file);
  out.write(npy_header(type, rows, columns));
  if (type == NpyType::float32) {
    out.write(values.data(), values.size() * sizeof(float));
  } else {
    std::vector<uint16_t> half(values.size());
    std::transform(values.begin(), values.end(), half.begin(), to_float16);
    out.write(half.data(), half.size() * sizeof(uint16_t));
  }
  out.commit();
}

}  // namespace m2bert::io
