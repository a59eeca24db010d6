#include "m2bert/checkpoint/zip_writer.h"

#include <algorithm>

#include "m2bert/checkpoint/zip_index.h"
#include "m2bert/error.h"

namespace m2bert::checkpoint {
namespace {

constexpr uint64_t alignment = 64, marker = 0xffffffff;
constexpr uint64_t utf8_names = 1 << 11, made_by = 45;

}  // namespace

void ZipWriter::put(uint64_t value, int bytes) {
  char text[8];
  for (int i = 0; i < bytes; ++i) text[i] = static_cast<char>(value >> (8 * i));
  out_.write(text, static_cast<size_t>(bytes));
}

void ZipWriter::add(const std::string& name, std::span<const std::byte> bytes) {
  require(name.size() < 65536, "[zip] a name of ", name.size(), " bytes");
  Entry e{name, out_.size(), bytes.size(), crc32(0, bytes.data(), bytes.size())};
  bool wide = e.size >= zip64_from_;
  uint64_t zip64 = wide ? 20 : 0;
  uint64_t fixed = e.header + 30 + name.size() + zip64 + 4;  // 4: head of the padding field
  uint64_t padding = (alignment - fixed % alignment) % alignment;
  put(0x04034b50, 4);
  put(made_by, 2);
  put(utf8_names, 2);
  put(0, 2);     // stored
  put(0, 2);     // time
  put(0x21, 2);  // 1980-01-01: the same input gives the same file
  put(e.crc, 4);
  put(wide ? marker : e.size, 4);
  put(wide ? marker : e.size, 4);
  put(name.size(), 2);
  put(zip64 + 4 + padding, 2);
  out_.write(name.data(), name.size());
  if (wide) {
    put(1, 2);
    put(16, 2);
    put(e.size, 8);
    put(e.size, 8);
  }
  put(0x4246, 2);  // "FB", the padding field PyTorch uses
  put(padding, 2);
  std::string zeros(static_cast<size_t>(padding), '\0');
  out_.write(zeros.data(), zeros.size());
  out_.write(bytes.data(), bytes.size());
  entries_.push_back(std::move(e));
}

void ZipWriter::finish() {
  uint64_t start = out_.size();
  for (const auto& e : entries_) {
    bool wide_size = e.size >= zip64_from_, wide_offset = e.header >= zip64_from_;
    uint64_t extra = (wide_size ? 16u : 0u) + (wide_offset ? 8u : 0u);
    put(0x02014b50, 4);
    put(made_by, 2);
    put(made_by, 2);
    put(utf8_names, 2);
    put(0, 2);
    put(0, 2);
    put(0x21, 2);
    put(e.crc, 4);
    put(wide_size ? marker : e.size, 4);
    put(wide_size ? marker : e.size, 4);
    put(e.name.size(), 2);
    put(extra ? extra + 4 : 0, 2);
    put(0, 2);
    put(0, 2);
    put(0, 2);
    put(0, 4);
    put(wide_offset ? marker : e.header, 4);
    out_.write(e.name.data(), e.name.size());
    if (extra) {
      put(1, 2);
      put(extra, 2);
      if (wide_size) put(e.size, 8), put(e.size, 8);
      if (wide_offset) put(e.header, 8);
    }
  }
  uint64_t end = out_.size(), size = end - start, count = entries_.size();
  bool wide = start >= zip64_from_ || size >= zip64_from_ || count >= 0xffff;
  if (wide) {
    put(0x06064b50, 4);
    put(44, 8);
    put(made_by, 2);
    put(made_by, 2);
    put(0, 4);
    put(0, 4);
    put(count, 8);
    put(count, 8);
    put(size, 8);
    put(start, 8);
    put(0x07064b50, 4);
    put(0, 4);
    put(end, 8);
    put(1, 4);
  }
  put(0x06054b50, 4);
  put(0, 4);
  put(std::min<uint64_t>(count, 0xffff), 2);
  put(std::min<uint64_t>(count, 0xffff), 2);
  put(wide ? marker : size, 4);
  put(wide ? marker : start, 4);
  put(0, 2);
}

}  // namespace m2bert::checkpoint
