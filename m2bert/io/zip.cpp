#include "m2bert/io/zip.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "m2bert/error.h"

namespace m2bert::io {
namespace {

// Record signatures and sizes of the zip format (APPNOTE.TXT 4.3).
constexpr uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50, kEnd64 = 0x06064b50, kLocator64 = 0x07064b50;
constexpr size_t kLocalSize = 30, kCentralSize = 46, kEndSize = 22, kEnd64Size = 56, kLocator64Size = 20;
constexpr uint16_t kEncrypted = 1 << 0, kDescriptor = 1 << 3, kStrong = 1 << 6, kUtf8 = 1 << 11, kMasked = 1 << 13;
constexpr uint16_t kExtra64 = 0x0001, kExtraPadding = 0x4246;  // "FB", as torch.save names it
constexpr uint32_t kMax32 = 0xFFFFFFFF;
constexpr uint16_t kMax16 = 0xFFFF;
constexpr uint64_t kDirectoryBytes = uint64_t{1} << 28;
constexpr size_t kPiece = size_t{1} << 22;

// Little-endian fields of a record, read in order. Reading beyond the end is an error.
class Fields {
 public:
  Fields(std::span<const std::byte> bytes, const std::string& what) : bytes_(bytes), what_(what) {}

  template <class T>
  T take() {
    const auto raw = bytes(sizeof(T));
    T value = 0;
    for (size_t i = 0; i < sizeof(T); ++i) value = static_cast<T>(value | static_cast<T>(static_cast<T>(raw[i]) << (8 * i)));
    return value;
  }
  std::span<const std::byte> bytes(size_t n) {
    require(n <= bytes_.size(), what_, ": is truncated in a record of its zip directory");
    const auto out = bytes_.first(n);
    bytes_ = bytes_.subspan(n);
    return out;
  }
  std::string text(size_t n) {
    const auto raw = bytes(n);
    return {reinterpret_cast<const char*>(raw.data()), raw.size()};
  }
  size_t left() const { return bytes_.size(); }

 private:
  std::span<const std::byte> bytes_;
  const std::string& what_;
};

template <class T>
void put(std::string& out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) out += static_cast<char>(static_cast<uint64_t>(value) >> (8 * i) & 0xFF);
}

struct Central {
  ZipEntry entry;
  uint16_t flags;
  uint64_t local_offset;
};

// A zip64 extra field has 64-bit values for the 32-bit ones that are full, in a fixed order.
void apply_extra64(std::span<const std::byte> extra, const std::string& what, uint64_t& size, uint64_t& compressed, uint64_t* offset) {
  Fields fields(extra, what);
  const bool needed = size == kMax32 || compressed == kMax32 || (offset && *offset == kMax32);
  while (fields.left() >= 4) {
    const auto id = fields.take<uint16_t>();
    const auto length = fields.take<uint16_t>();
    Fields field(fields.bytes(length), what);
    if (id != kExtra64) continue;
    for (uint64_t* value : {&size, &compressed, offset}) {
      if (value && *value == kMax32) *value = field.take<uint64_t>();
    }
    return;
  }
  require(!needed || fields.left() == 0 || fields.left() < 4, what, ": its zip64 field is damaged");
}

void check_name(const std::string& file, const std::string& name) {
  const auto refuse = [&](const char* why) { fail(file, ": the zip entry \"", name.substr(0, 200), "\" ", why); };
  if (name.empty()) refuse("has no name");
  if (name.find('\0') != std::string::npos) fail(file, ": a zip entry has a NUL byte in its name");
  if (name.find('\\') != std::string::npos) refuse("has a backslash in its name");
  if (name.front() == '/') refuse("has an absolute name");
  for (size_t at = 0; at <= name.size();) {
    const size_t end = std::min(name.find('/', at), name.size());
    if (name.compare(at, end - at, "..") == 0) refuse("has \"..\" in its name");
    at = end + 1;
  }
}

struct Directory {
  uint64_t offset, size, entries, end /* where the records after it begin */;
};

std::vector<std::byte> read_bytes(const RandomFile& file, uint64_t offset, uint64_t size) {
  std::vector<std::byte> out(size);
  file.read(offset, out);
  return out;
}

Directory read_end64(const RandomFile& file, const std::string& name, uint64_t end_offset, Directory directory) {
  if (end_offset < kLocator64Size) return directory;
  const auto locator_bytes = read_bytes(file, end_offset - kLocator64Size, kLocator64Size);
  Fields locator(locator_bytes, name);
  if (locator.take<uint32_t>() != kLocator64) return directory;
  require(locator.take<uint32_t>() == 0, name, ": is one part of a split zip archive");
  const auto offset = locator.take<uint64_t>();
  require(offset <= end_offset - kLocator64Size && end_offset - kLocator64Size - offset >= kEnd64Size, name,
          ": its zip64 end record lies outside the file");
  const auto bytes = read_bytes(file, offset, kEnd64Size);
  Fields fields(bytes, name);
  require(fields.take<uint32_t>() == kEnd64, name, ": its zip64 end record is damaged");
  const auto record = fields.take<uint64_t>();
  require(record >= kEnd64Size - 12 && record <= end_offset, name, ": its zip64 end record is damaged");
  fields.bytes(4);  // versions
  require(fields.take<uint32_t>() == 0 && fields.take<uint32_t>() == 0, name, ": is one part of a split zip archive");
  const auto here = fields.take<uint64_t>();
  directory.entries = fields.take<uint64_t>();
  require(here == directory.entries, name, ": is one part of a split zip archive");
  directory.size = fields.take<uint64_t>();
  directory.offset = fields.take<uint64_t>();
  directory.end = offset;
  return directory;
}

// The end record is at the end of the file, followed by a comment of at most 64 KiB.
Directory find_directory(const RandomFile& file, const std::string& name) {
  const uint64_t tail_size = std::min<uint64_t>(file.size(), kEndSize + kMax16);
  const auto tail = read_bytes(file, file.size() - tail_size, tail_size);
  for (size_t back = kEndSize; back <= tail.size(); ++back) {
    const auto record = std::span(tail).subspan(tail.size() - back);
    Fields fields(record, name);
    if (fields.take<uint32_t>() != kEnd) continue;
    const auto disk = fields.take<uint16_t>(), start_disk = fields.take<uint16_t>();
    const auto here = fields.take<uint16_t>(), all = fields.take<uint16_t>();
    const auto size = fields.take<uint32_t>(), offset = fields.take<uint32_t>();
    if (fields.take<uint16_t>() != back - kEndSize) continue;
    const uint64_t end_offset = file.size() - back;
    const Directory found = read_end64(file, name, end_offset, {offset, size, all, end_offset});
    if (found.end == end_offset) {
      require((disk == 0 || disk == kMax16) && (start_disk == 0 || start_disk == kMax16) && here == all, name,
              ": is one part of a split zip archive");
    }
    return found;
  }
  fail(name, ": is not a zip archive, or is truncated: it has no end record");
}

Central read_central(Fields& fields, const std::string& name) {
  require(fields.take<uint32_t>() == kCentral, name, ": its zip directory is damaged");
  Central out{};
  ZipEntry& entry = out.entry;
  fields.bytes(4);  // versions
  out.flags = fields.take<uint16_t>();
  const auto method = fields.take<uint16_t>();
  fields.bytes(4);  // time
  entry.crc32 = fields.take<uint32_t>();
  entry.compressed_size = fields.take<uint32_t>();
  entry.size = fields.take<uint32_t>();
  const auto name_size = fields.take<uint16_t>(), extra_size = fields.take<uint16_t>(), comment_size = fields.take<uint16_t>();
  const auto disk = fields.take<uint16_t>();
  fields.bytes(6);  // attributes
  out.local_offset = fields.take<uint32_t>();
  entry.name = fields.text(name_size);
  check_name(name, entry.name);
  apply_extra64(fields.bytes(extra_size), name, entry.size, entry.compressed_size, &out.local_offset);
  fields.bytes(comment_size);
  require(disk == 0 || disk == kMax16, name, ": is one part of a split zip archive");
  require(!(out.flags & (kEncrypted | kStrong | kMasked)), name, ": the zip entry ", entry.name, " is encrypted");
  require(method == 0 || method == 8, name, ": the zip entry ", entry.name, " is compressed by method ", method,
          "; only stored and deflated ones are read");
  entry.method = method == 0 ? ZipMethod::stored : ZipMethod::deflated;
  return out;
}

// Finds where the data begins. The local header must agree with the directory.
void read_local(const RandomFile& file, const std::string& name, uint64_t directory_offset, Central& central) {
  ZipEntry& entry = central.entry;
  const auto refuse = [&](const char* why) { fail(name, ": the zip entry ", entry.name, " ", why); };
  if (central.local_offset > directory_offset || directory_offset - central.local_offset < kLocalSize + entry.name.size()) {
    refuse("lies outside the file");
  }
  const auto bytes = read_bytes(file, central.local_offset, kLocalSize + entry.name.size());
  Fields fields(bytes, name);
  if (fields.take<uint32_t>() != kLocal) refuse("has no header where the directory says");
  fields.bytes(2);
  const auto flags = fields.take<uint16_t>();
  if ((flags & (kEncrypted | kStrong | kMasked)) != 0) refuse("is encrypted");
  if (fields.take<uint16_t>() != (entry.method == ZipMethod::stored ? 0 : 8)) refuse("differs from its own header in the method");
  fields.bytes(4);
  const auto crc = fields.take<uint32_t>();
  uint64_t compressed = fields.take<uint32_t>(), size = fields.take<uint32_t>();
  const auto name_size = fields.take<uint16_t>(), extra_size = fields.take<uint16_t>();
  if (name_size != entry.name.size() || fields.text(entry.name.size()) != entry.name) refuse("differs from its own header in the name");
  entry.data_offset = central.local_offset + kLocalSize + name_size + extra_size;
  if (entry.data_offset > directory_offset || directory_offset - entry.data_offset < entry.compressed_size) refuse("lies outside the file");
  if (flags & kDescriptor) return;  // sizes and CRC follow the data
  const auto extra = read_bytes(file, central.local_offset + kLocalSize + name_size, extra_size);
  apply_extra64(extra, name, size, compressed, nullptr);
  if (size != entry.size || compressed != entry.compressed_size || crc != entry.crc32) refuse("differs from its own header in size or CRC");
}

}  // namespace

ZipReader::ZipReader(const std::filesystem::path& file, const ZipLimits& limits) : file_(file) {
  read_index(limits);
  check(limits);
}

void ZipReader::read_index(const ZipLimits& limits) {
  const std::string name = path().string();
  const Directory directory = find_directory(file_, name);
  require(directory.entries <= limits.entries, name, ": has ", directory.entries, " zip entries, at most ", limits.entries, " are read");
  require(directory.offset <= directory.end && directory.size == directory.end - directory.offset, name,
          ": its zip directory is not where its end record says");
  require(directory.size <= kDirectoryBytes && directory.entries <= directory.size / kCentralSize, name, ": its zip directory is damaged");
  const auto bytes = read_bytes(file_, directory.offset, directory.size);
  Fields fields(bytes, name);
  std::vector<Central> found;
  found.reserve(directory.entries);
  for (uint64_t i = 0; i < directory.entries; ++i) found.push_back(read_central(fields, name));
  require(fields.left() == 0, name, ": its zip directory holds more than its ", directory.entries, " entries");
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (Central& central : found) {
    read_local(file_, name, directory.offset, central);
    ranges.emplace_back(central.local_offset, central.entry.data_offset + central.entry.compressed_size);
    const bool folder = central.entry.name.back() == '/';
    if (!folder) entries_.push_back(std::move(central.entry));
    else require(central.entry.size == 0, name, ": the zip entry ", central.entry.name, " is a folder with content");
  }
  std::sort(ranges.begin(), ranges.end());
  for (size_t i = 1; i < ranges.size(); ++i) require(ranges[i - 1].second <= ranges[i].first, name, ": zip entries overlap");
}

void ZipReader::check(const ZipLimits& limits) {
  const std::string name = path().string();
  uint64_t total = 0;
  for (const ZipEntry& entry : entries_) {
    const auto refuse = [&](const auto&... why) { fail(name, ": the zip entry ", entry.name, " ", why...); };
    if (entry.method == ZipMethod::stored && entry.size != entry.compressed_size) refuse("is stored, but has two sizes");
    if (entry.method == ZipMethod::deflated && entry.size / limits.ratio > entry.compressed_size) {
      refuse("claims to grow from ", entry.compressed_size, " to ", entry.size, " bytes: not possible");
    }
    if (entry.size > limits.total_size - total) refuse("brings the archive above ", limits.total_size, " bytes");
    total += entry.size;
  }
  by_name_.resize(entries_.size());
  std::iota(by_name_.begin(), by_name_.end(), size_t{0});
  std::sort(by_name_.begin(), by_name_.end(), [&](size_t a, size_t b) { return entries_[a].name < entries_[b].name; });
  for (size_t i = 1; i < by_name_.size(); ++i) {
    require(entries_[by_name_[i - 1]].name != entries_[by_name_[i]].name, name, ": has two zip entries ", entries_[by_name_[i]].name);
  }
}

const ZipEntry* ZipReader::find(std::string_view name) const {
  const auto found =
      std::lower_bound(by_name_.begin(), by_name_.end(), name, [&](size_t i, std::string_view n) { return entries_[i].name < n; });
  return found != by_name_.end() && entries_[*found].name == name ? &entries_[*found] : nullptr;
}

const ZipEntry& ZipReader::at(std::string_view name) const {
  if (const ZipEntry* entry = find(name)) return *entry;
  fail(path().string(), ": has no zip entry ", name);
}

void ZipReader::read(const ZipEntry& entry, std::span<std::byte> out) const {
  require(out.size() == entry.size, path().string(), ": the zip entry ", entry.name, " has ", entry.size, " bytes, the buffer ",
          out.size());
  uLong crc = ::crc32(0, nullptr, 0);
  if (entry.method == ZipMethod::stored) {
    for (size_t at = 0; at < out.size(); at += kPiece) {
      const auto piece = out.subspan(at, std::min(kPiece, out.size() - at));
      file_.read(entry.data_offset + at, piece);
      crc = ::crc32_z(crc, reinterpret_cast<const Bytef*>(piece.data()), piece.size());
    }
  } else {
    inflate(entry, out);
    crc = ::crc32_z(crc, reinterpret_cast<const Bytef*>(out.data()), out.size());
  }
  require(crc == entry.crc32, path().string(), ": the zip entry ", entry.name, " is damaged: its CRC does not match");
}

void ZipReader::inflate(const ZipEntry& entry, std::span<std::byte> out) const {
  z_stream stream{};
  require(inflateInit2(&stream, -MAX_WBITS) == Z_OK, "out of memory for inflate");
  struct Guard {
    z_stream& stream;
    ~Guard() { inflateEnd(&stream); }
  } guard{stream};
  const auto damaged = [&] { fail(path().string(), ": the zip entry ", entry.name, " is damaged: its compressed data is wrong"); };
  std::vector<std::byte> piece(std::min<uint64_t>(entry.compressed_size, size_t{1} << 18));
  uint64_t taken = 0;
  size_t made = 0;
  std::byte beyond{};  // receives an excess byte
  for (int state = Z_OK; state != Z_STREAM_END;) {
    if (stream.avail_in == 0 && taken < entry.compressed_size) {
      const auto part = std::span(piece).first(std::min<uint64_t>(piece.size(), entry.compressed_size - taken));
      file_.read(entry.data_offset + taken, part);
      taken += part.size();
      stream.next_in = reinterpret_cast<Bytef*>(part.data());
      stream.avail_in = static_cast<uInt>(part.size());
    }
    const bool full = made == out.size();
    const size_t room = full ? 1 : std::min<size_t>(out.size() - made, size_t{1} << 30);
    stream.next_out = reinterpret_cast<Bytef*>(full ? &beyond : out.data() + made);
    stream.avail_out = static_cast<uInt>(room);
    state = ::inflate(&stream, Z_NO_FLUSH);
    const size_t produced = room - stream.avail_out;
    if (state != Z_OK && state != Z_STREAM_END) damaged();
    if (full && produced > 0) damaged();
    made += produced;
  }
  if (made != out.size() || stream.avail_in != 0 || taken != entry.compressed_size) damaged();
}

std::string ZipReader::read(const ZipEntry& entry, uint64_t max_bytes) const {
  require(entry.size <= max_bytes, path().string(), ": the zip entry ", entry.name, " has ", entry.size, " bytes, at most ", max_bytes,
          " are read");
  std::string out(entry.size, '\0');
  read(entry, std::as_writable_bytes(std::span(out)));
  return out;
}

bool looks_like_zip(std::span<const std::byte> head) {
  if (head.size() < 4) return false;
  const std::string name;
  const auto signature = Fields(head, name).take<uint32_t>();
  return signature == kLocal || signature == kEnd;
}

// ---- writing ----

struct ZipWriter::Written {
  std::string name;
  uint64_t size, header_offset;
  uint32_t crc, header_crc;  // of what was written so far; as the header has it
};

namespace {

std::string extra64(std::initializer_list<uint64_t> values) {
  std::string out;
  if (values.size() == 0) return out;
  put<uint16_t>(out, kExtra64);
  put<uint16_t>(out, static_cast<uint16_t>(8 * values.size()));
  for (uint64_t value : values) put<uint64_t>(out, value);
  return out;
}

uint32_t low32(uint64_t value) { return value >= kMax32 ? kMax32 : static_cast<uint32_t>(value); }

// What a local header and a directory record share, from the version up to the sizes. Time: 1 January 1980, so that equal
// contents make equal files.
void put_common(std::string& out, bool big, uint32_t crc, uint64_t size) {
  put<uint16_t>(out, big ? 45 : 20);
  put<uint16_t>(out, kUtf8);
  put<uint16_t>(out, 0);       // stored
  put<uint16_t>(out, 0);       // time
  put<uint16_t>(out, 0x0021);  // date
  put<uint32_t>(out, crc);
  put<uint32_t>(out, low32(size));
  put<uint32_t>(out, low32(size));
}

}  // namespace

ZipWriter::ZipWriter(const std::filesystem::path& file, uint32_t alignment) : file_(file), alignment_(alignment) {
  require(alignment > 0 && alignment <= 4096, file.string(), ": zip entries cannot be aligned to ", alignment, " bytes");
}

ZipWriter::~ZipWriter() = default;

void ZipWriter::begin(const std::string& name, uint64_t size) { begin(name, size, 0); }

void ZipWriter::begin(const std::string& name, uint64_t size, uint32_t crc) {
  require(!current_, "zip: ", name, " begins inside another entry");
  check_name("zip", name);
  require(name.size() < kMax16, "zip: the name of an entry has ", name.size(), " bytes");
  const uint64_t header = file_.size();
  const bool big = size >= kMax32;
  std::string extra = big ? extra64({size, size}) : "";
  const uint64_t unpadded = header + kLocalSize + name.size() + extra.size() + 4;
  const auto padding = static_cast<uint16_t>((alignment_ - unpadded % alignment_) % alignment_);
  put<uint16_t>(extra, kExtraPadding);
  put<uint16_t>(extra, padding);
  extra.append(padding, 'Z');
  std::string out;
  put<uint32_t>(out, kLocal);
  put_common(out, big, crc, size);
  put<uint16_t>(out, static_cast<uint16_t>(name.size()));
  put<uint16_t>(out, static_cast<uint16_t>(extra.size()));
  file_.write(out + name + extra);
  current_ = std::make_unique<Written>(Written{name, size, header, 0, crc});
  left_ = size;
}

void ZipWriter::append(std::span<const std::byte> piece) {
  require(current_ && piece.size() <= left_, "zip: more bytes than the size of the entry");
  for (size_t at = 0; at < piece.size(); at += kPiece) {
    const auto part = piece.subspan(at, std::min(kPiece, piece.size() - at));
    current_->crc = static_cast<uint32_t>(::crc32_z(current_->crc, reinterpret_cast<const Bytef*>(part.data()), part.size()));
    file_.write(part.data(), part.size());
  }
  left_ -= piece.size();
}

void ZipWriter::end() {
  require(current_ && left_ == 0, "zip: the entry ", current_ ? current_->name : "", " lacks ", left_, " bytes");
  if (current_->crc != current_->header_crc) {
    std::string crc;
    put<uint32_t>(crc, current_->crc);
    file_.write_at(current_->header_offset + 14, crc.data(), crc.size());
  }
  entries_.push_back(std::move(*current_));
  current_.reset();
}

void ZipWriter::add(const std::string& name, std::span<const std::byte> content) {
  begin(name, content.size(), static_cast<uint32_t>(::crc32_z(0, reinterpret_cast<const Bytef*>(content.data()), content.size())));
  append(content);
  end();
}

void ZipWriter::finish() {
  require(!current_, "zip: finished inside an entry");
  const uint64_t offset = file_.size();
  for (const Written& entry : entries_) {
    const bool big = entry.size >= kMax32, far = entry.header_offset >= kMax32;
    const std::string extra = big && far ? extra64({entry.size, entry.size, entry.header_offset})
                              : big      ? extra64({entry.size, entry.size})
                              : far      ? extra64({entry.header_offset})
                                         : "";
    std::string out;
    put<uint32_t>(out, kCentral);
    put<uint16_t>(out, 45);
    put_common(out, big || far, entry.crc, entry.size);
    put<uint16_t>(out, static_cast<uint16_t>(entry.name.size()));
    put<uint16_t>(out, static_cast<uint16_t>(extra.size()));
    put<uint16_t>(out, 0);  // comment
    put<uint16_t>(out, 0);  // disk
    put<uint16_t>(out, 0);  // attributes
    put<uint32_t>(out, 0);
    put<uint32_t>(out, low32(entry.header_offset));
    file_.write(out + entry.name + extra);
  }
  const uint64_t size = file_.size() - offset, count = entries_.size();
  std::string out;
  if (count >= kMax16 || size >= kMax32 || offset >= kMax32) {
    const uint64_t end64 = file_.size();
    put<uint32_t>(out, kEnd64);
    put<uint64_t>(out, kEnd64Size - 12);
    put<uint16_t>(out, 45);
    put<uint16_t>(out, 45);
    put<uint32_t>(out, 0);
    put<uint32_t>(out, 0);
    for (uint64_t value : {count, count, size, offset}) put<uint64_t>(out, value);
    put<uint32_t>(out, kLocator64);
    put<uint32_t>(out, 0);
    put<uint64_t>(out, end64);
    put<uint32_t>(out, 1);
  }
  const auto count16 = static_cast<uint16_t>(std::min<uint64_t>(count, kMax16));
  put<uint32_t>(out, kEnd);
  put<uint32_t>(out, 0);
  put<uint16_t>(out, count16);
  put<uint16_t>(out, count16);
  put<uint32_t>(out, low32(size));
  put<uint32_t>(out, low32(offset));
  put<uint16_t>(out, 0);
  file_.write(out);
  file_.commit();
}

}  // namespace m2bert::io
