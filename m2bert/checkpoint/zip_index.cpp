#include "m2bert/checkpoint/zip_index.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string_view>
#include <tuple>
#include <unordered_set>

#include "m2bert/checkpoint/text.h"
#include "m2bert/error.h"

namespace m2bert::checkpoint {
namespace {

constexpr uint32_t local_mark = 0x04034b50, central_mark = 0x02014b50, end_mark = 0x06054b50;
constexpr uint32_t end64_mark = 0x06064b50, locator64_mark = 0x07064b50;
constexpr uint64_t most_entries = 1'000'000;

class Reader {
 public:
  Reader(std::span<const std::byte> file, const std::string& name) : file_(file), name_(name) {}

  template <class... Parts>
  [[noreturn]] void bad(uint64_t offset, const Parts&... parts) const {
    fail(name_, ": byte ", offset, ": bad zip archive: ", parts...);
  }
  template <class... Parts>
  void check(bool ok, uint64_t offset, const Parts&... parts) const {
    if (!ok) bad(offset, parts...);
  }
  // n little-endian bytes at the offset.
  uint64_t number(uint64_t offset, int n) const {
    check(inside(offset, static_cast<uint64_t>(n)), offset, "truncated");
    uint64_t v = 0;
    for (int i = n - 1; i >= 0; --i) v = v << 8 | static_cast<uint8_t>(file_[offset + static_cast<uint64_t>(i)]);
    return v;
  }
  uint32_t u32(uint64_t offset) const { return static_cast<uint32_t>(number(offset, 4)); }
  uint16_t u16(uint64_t offset) const { return static_cast<uint16_t>(number(offset, 2)); }
  std::string_view text(uint64_t offset, uint64_t n) const {
    check(inside(offset, n), offset, "truncated");
    return {reinterpret_cast<const char*>(file_.data()) + offset, static_cast<size_t>(n)};
  }
  bool inside(uint64_t offset, uint64_t n) const { return offset <= file_.size() && n <= file_.size() - offset; }
  uint64_t size() const { return file_.size(); }

 private:
  std::span<const std::byte> file_;
  const std::string& name_;
};

struct Directory {
  uint64_t offset = 0, size = 0, entries = 0, end = 0;  // end: of the last record before the end record(s)
};

uint64_t find_end_record(const Reader& in) {
  in.check(in.size() >= 22, 0, "truncated: ", in.size(), " bytes");
  uint64_t lowest = in.size() >= 22 + 65535 ? in.size() - 22 - 65535 : 0;
  for (uint64_t at = in.size() - 22;; --at) {
    if (in.u32(at) == end_mark && in.u16(at + 20) == in.size() - at - 22) return at;
    if (at == lowest) break;
  }
  in.bad(in.size(), "no directory at the end of the file (an incomplete download or copy?)");
}

Directory find_directory(const Reader& in) {
  uint64_t at = find_end_record(in);
  in.check(in.u16(at + 4) == 0 && in.u16(at + 6) == 0, at, "an archive in several parts");
  Directory dir{in.u32(at + 16), in.u32(at + 12), in.u16(at + 10), at};
  in.check(in.u16(at + 8) == in.u16(at + 10), at, "the numbers of entries differ");
  bool locator = at >= 20 && in.u32(at - 20) == locator64_mark;
  if (locator) {
    uint64_t end64 = in.number(at - 12, 8);
    in.check(in.inside(end64, 56) && end64 + 56 <= at - 20 && in.u32(end64) == end64_mark, at - 20,
             "the zip64 end record is not where it should be");
    in.check(in.number(end64 + 24, 8) == in.number(end64 + 32, 8), end64, "the numbers of entries differ");
    dir = {in.number(end64 + 48, 8), in.number(end64 + 40, 8), in.number(end64 + 32, 8), end64};
  }
  in.check(in.inside(dir.offset, dir.size) && dir.offset + dir.size <= dir.end, at, "the directory lies outside the file");
  in.check(dir.offset + dir.size == dir.end, at, "bytes between the directory and its end record");
  in.check(dir.entries <= most_entries && dir.entries <= dir.size / 46, at, "a directory of ", dir.size, " bytes cannot hold ", dir.entries,
           " entries");
  return dir;
}

struct Sizes {
  uint64_t packed, plain, local;
};

// Replaces the sizes that refer to the zip64 field.
void read_zip64(const Reader& in, uint64_t offset, uint64_t length, Sizes& s, bool with_local) {
  uint64_t at = offset, end = offset + length;
  bool wanted = s.plain == 0xffffffff || s.packed == 0xffffffff || (with_local && s.local == 0xffffffff);
  while (wanted && end - at >= 4) {
    uint64_t id = in.u16(at), n = in.u16(at + 2);
    at += 4;
    in.check(n <= end - at, at, "an extra field longer than its room");
    if (id == 1) {
      uint64_t field = at;
      auto next = [&](uint64_t& value) {
        if (value != 0xffffffff) return;
        in.check(field + 8 <= at + n, at, "a zip64 field too short");
        value = in.number(field, 8);
        field += 8;
      };
      next(s.plain);
      next(s.packed);
      if (with_local) next(s.local);
      return;
    }
    at += n;
  }
}

ZipEntry read_entry(const Reader& in, uint64_t& at, const Directory& dir) {
  uint64_t start = at;
  in.check(in.u32(at) == central_mark, at, "a directory entry without its signature");
  uint64_t flags = in.u16(at + 8), method = in.u16(at + 10);
  uint64_t name_length = in.u16(at + 28), extra = in.u16(at + 30), comment = in.u16(at + 32);
  Sizes sizes{in.u32(at + 20), in.u32(at + 24), in.u32(at + 42)};
  in.check(name_length + extra + comment + 46 <= dir.offset + dir.size - at, at, "an entry longer than the directory");
  ZipEntry entry;
  entry.name = in.text(at + 46, name_length);
  entry.crc = in.u32(at + 16);
  std::string shown = "entry '" + printable(entry.name) + "'";
  in.check(!entry.name.empty() && valid_utf8(entry.name) && entry.name.find('\0') == std::string::npos, at, shown, " has a bad name");
  read_zip64(in, at + 46 + name_length, extra, sizes, true);
  in.check((flags & 1) == 0, at, shown, " is encrypted");
  in.check(method == 0, at, shown, " is compressed (method ", method,
           "); PyTorch stores entries uncompressed. Unpack it and pack it again with `zip -0`");
  in.check(sizes.packed == sizes.plain, at, shown, " is stored in ", sizes.packed, " bytes but should have ", sizes.plain);
  entry.size = sizes.plain;
  at += 46 + name_length + extra + comment;

  uint64_t local = sizes.local;
  in.check(in.inside(local, 30) && local < dir.offset && in.u32(local) == local_mark, start, shown,
           " does not begin where the directory says (byte ", local, ")");
  in.check(in.u16(local + 8) == method && ((in.u16(local + 6) ^ flags) & 1) == 0, local, shown, ": its header and the directory differ");
  uint64_t local_name = in.u16(local + 26), local_extra = in.u16(local + 28);
  in.check(in.text(local + 30, local_name) == entry.name, local, shown, " has another name in its header");
  Sizes here{in.u32(local + 18), in.u32(local + 22), 0};
  in.check(in.inside(local + 30 + local_name, local_extra), local, "truncated");
  read_zip64(in, local + 30 + local_name, local_extra, here, false);
  bool later = (in.u16(local + 6) & 8) != 0;  // sizes and checksum follow the bytes
  bool agree = here.packed == sizes.packed && here.plain == sizes.plain && in.u32(local + 14) == entry.crc;
  bool absent = here.packed == 0 && here.plain == 0;
  in.check(agree || (later && absent), local, shown, ": its header and the directory differ in size or checksum");
  entry.offset = local + 30 + local_name + local_extra;
  in.check(entry.offset <= dir.offset && entry.size <= dir.offset - entry.offset, local, shown, " of ", entry.size,
           " bytes reaches beyond the data");
  return entry;
}

// Tables to process eight bytes per step.
constexpr auto crc_tables = [] {
  std::array<std::array<uint32_t, 256>, 16> t{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int k = 0; k < 8; ++k) c = (c & 1) ? 0xedb88320u ^ (c >> 1) : c >> 1;
    t[0][i] = c;
  }
  for (size_t k = 1; k < 16; ++k)
    for (size_t i = 0; i < 256; ++i) t[k][i] = (t[k - 1][i] >> 8) ^ t[0][t[k - 1][i] & 255];
  return t;
}();

}  // namespace

uint32_t crc32(uint32_t crc, const void* data, size_t size) {
  auto p = static_cast<const uint8_t*>(data);
  const auto& t = crc_tables;
  uint32_t c = ~crc;
  for (; size >= 16; size -= 16, p += 16) {
    uint32_t next = 0;
    uint32_t head = c ^ (uint32_t{p[0]} | uint32_t{p[1]} << 8 | uint32_t{p[2]} << 16 | uint32_t{p[3]} << 24);
    for (size_t i = 0; i < 4; ++i) next ^= t[15 - i][(head >> (8 * i)) & 255];
    for (size_t i = 4; i < 16; ++i) next ^= t[15 - i][p[i]];
    c = next;
  }
  for (; size > 0; --size, ++p) c = t[0][(c ^ *p) & 255] ^ (c >> 8);
  return ~c;
}

bool looks_like_zip(std::span<const std::byte> file) { return file.size() >= 4 && std::memcmp(file.data(), "PK\3\4", 4) == 0; }

std::vector<ZipEntry> read_zip_index(std::span<const std::byte> file, const std::string& name) {
  Reader in(file, name);
  Directory dir = find_directory(in);
  std::vector<ZipEntry> entries;
  entries.reserve(static_cast<size_t>(dir.entries));
  uint64_t at = dir.offset;
  for (uint64_t i = 0; i < dir.entries; ++i) entries.push_back(read_entry(in, at, dir));
  in.check(at == dir.offset + dir.size, at, "the directory holds more than its ", dir.entries, " entries");
  std::unordered_set<std::string_view> names;
  for (const auto& e : entries) in.check(names.insert(e.name).second, e.offset, "entry '", printable(e.name), "' occurs twice");
  std::sort(entries.begin(), entries.end(), [](auto& a, auto& b) { return std::tie(a.offset, a.size) < std::tie(b.offset, b.size); });
  for (size_t i = 1; i < entries.size(); ++i) {
    const auto& before = entries[i - 1];
    uint64_t header = entries[i].offset - std::min<uint64_t>(entries[i].offset, 30 + entries[i].name.size());
    in.check(before.offset + before.size <= header, entries[i].offset, "entries '", printable(before.name), "' and '",
             printable(entries[i].name), "' overlap");
  }
  return entries;
}

}  // namespace m2bert::checkpoint
