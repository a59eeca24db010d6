#include "m2bert/data/parquet_values.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "m2bert/error.h"

namespace m2bert::data {
namespace {

static_assert(std::endian::native == std::endian::little, "Parquet stores little-endian values, which are copied as they are");

// Reads the bytes of a page from its front.
class Bytes {
 public:
  Bytes(std::string_view bytes, std::string where) : bytes_(bytes), where_(std::move(where)) {}

  std::string_view take(uint64_t size) {
    require(size <= bytes_.size(), where_, ": its values end early");
    const std::string_view taken = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return taken;
  }
  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = number<uint8_t>();
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    fail(where_, ": a number in its values is too long");
  }
  int64_t zigzag() {
    const uint64_t value = varint();
    return static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1);
  }
  std::string_view rest() const { return bytes_; }
  const std::string& where() const { return where_; }

 private:
  std::string_view bytes_;
  std::string where_;
};

// `width` bits from a bit on, least significant first. The bytes must have them.
uint64_t bits_at(std::string_view bytes, uint64_t bit, int width) {
  uint64_t value = 0;
  for (int done = 0; done < width;) {
    const uint64_t at = bit + static_cast<uint64_t>(done);
    const int offset = static_cast<int>(at % 8), count = std::min(8 - offset, width - done);
    const uint64_t byte = static_cast<uint8_t>(bytes[at / 8]);
    value |= ((byte >> offset) & ((1U << count) - 1)) << done;
    done += count;
  }
  return value;
}

ParquetValue of_integer(int64_t value) { return {.kind = ParquetValue::Kind::integer, .integer = value}; }
ParquetValue of_number(double value) { return {.kind = ParquetValue::Kind::number, .number = value}; }
ParquetValue of_text(std::string_view text) { return {.kind = ParquetValue::Kind::text, .text = text}; }
ParquetValue of_boolean(bool value) { return {.kind = ParquetValue::Kind::boolean, .integer = value}; }

class PlainValues : public ParquetValues {
 public:
  PlainValues(ParquetType type, Bytes bytes) : type_(type), bytes_(std::move(bytes)) {}
  ParquetValue next() override {
    switch (type_) {
      case ParquetType::int32: return of_integer(bytes_.number<int32_t>());
      case ParquetType::int64: return of_integer(bytes_.number<int64_t>());
      case ParquetType::float32: return of_number(bytes_.number<float>());
      case ParquetType::float64: return of_number(bytes_.number<double>());
      case ParquetType::bytes: return of_text(bytes_.take(bytes_.number<uint32_t>()));
      default: return next_bit();
    }
  }

 private:
  ParquetValue next_bit() {
    if (bit_ == 8) {
      byte_ = bytes_.number<uint8_t>();
      bit_ = 0;
    }
    return of_boolean(((byte_ >> bit_++) & 1) != 0);
  }
  ParquetType type_;
  Bytes bytes_;
  uint8_t byte_ = 0;
  int bit_ = 8;
};

class DictionaryValues : public ParquetValues {
 public:
  DictionaryValues(const std::vector<ParquetValue>& dictionary, ParquetRuns indices, std::string where)
      : dictionary_(dictionary), indices_(std::move(indices)), where_(std::move(where)) {}
  ParquetValue next() override {
    const uint32_t index = indices_.next();
    require(index < dictionary_.size(), where_, ": has value ", index, " of a dictionary of ", dictionary_.size());
    return dictionary_[index];
  }

 private:
  const std::vector<ParquetValue>& dictionary_;
  ParquetRuns indices_;
  std::string where_;
};

class BooleanRuns : public ParquetValues {
 public:
  explicit BooleanRuns(ParquetRuns runs) : runs_(std::move(runs)) {}
  ParquetValue next() override { return of_boolean(runs_.next() != 0); }

 private:
  ParquetRuns runs_;
};

// Integers as differences, bit-packed in blocks (DELTA_BINARY_PACKED).
class Deltas {
 public:
  explicit Deltas(Bytes bytes) : bytes_(std::move(bytes)) {
    const uint64_t block = bytes_.varint();
    blocks_ = bytes_.varint();
    left_ = bytes_.varint();
    value_ = static_cast<uint64_t>(bytes_.zigzag());
    require(left_ <= INT32_MAX, bytes_.where(), ": has ", left_, " values, more than a page can have");
    require(blocks_ > 0 && block > 0 && block <= (1U << 16) && block % blocks_ == 0 && block / blocks_ % 32 == 0, bytes_.where(),
            ": its differences come in blocks of ", block, " values in ", blocks_, " parts, which no writer makes");
    per_part_ = block / blocks_;
  }

  int64_t next() {
    require(left_ > 0, bytes_.where(), ": its values end early");
    if (!std::exchange(first_, false)) {
      if (left_in_part_ == 0) next_part();
      --left_in_part_;
      value_ += smallest_ + bits_at(part_, bit_, width_);
      bit_ += static_cast<uint64_t>(width_);
    }
    --left_;
    return static_cast<int64_t>(value_);
  }

  // What lies behind the last value. Nothing more can be read afterwards.
  std::string_view behind() {
    for (uint64_t left = left_ > 0 ? left_ - 1 : 0; left > 0; left -= std::min(left, per_part_)) next_part();
    left_ = 0;
    return bytes_.rest();
  }

 private:
  void next_part() {
    if (next_width_ == widths_.size()) {
      smallest_ = static_cast<uint64_t>(bytes_.zigzag());
      widths_ = bytes_.take(blocks_);
      next_width_ = 0;
    }
    width_ = static_cast<uint8_t>(widths_[next_width_++]);
    require(width_ <= 64, bytes_.where(), ": its differences have ", width_, " bits");
    part_ = bytes_.take(per_part_ / 8 * static_cast<uint64_t>(width_));
    bit_ = 0;
    left_in_part_ = per_part_;
  }

  Bytes bytes_;
  uint64_t blocks_ = 0, per_part_ = 0, left_ = 0, left_in_part_ = 0;
  uint64_t value_ = 0, smallest_ = 0;  // wrap around, as the format says
  std::string_view widths_, part_;
  size_t next_width_ = 0;
  int width_ = 0;
  uint64_t bit_ = 0;
  bool first_ = true;
};

class DeltaIntegers : public ParquetValues {
 public:
  DeltaIntegers(ParquetType type, const Bytes& bytes) : narrow_(type == ParquetType::int32), deltas_(bytes) {}
  ParquetValue next() override {
    const int64_t value = deltas_.next();
    return of_integer(narrow_ ? static_cast<int32_t>(value) : value);
  }

 private:
  bool narrow_;
  Deltas deltas_;
};

// Texts behind their lengths (DELTA_LENGTH_BYTE_ARRAY).
class DeltaTexts : public ParquetValues {
 public:
  explicit DeltaTexts(const Bytes& bytes) : lengths_(bytes), texts_(Deltas(bytes).behind(), bytes.where()) {}
  ParquetValue next() override {
    const int64_t length = lengths_.next();
    require(length >= 0, texts_.where(), ": a text has the length ", length);
    return of_text(texts_.take(static_cast<uint64_t>(length)));
  }

 private:
  Deltas lengths_;
  Bytes texts_;
};

// Texts that begin as the one before them does (DELTA_BYTE_ARRAY).
class PrefixedTexts : public ParquetValues {
 public:
  explicit PrefixedTexts(const Bytes& bytes)
      : prefixes_(bytes), suffixes_(Bytes(Deltas(bytes).behind(), bytes.where())), where_(bytes.where()) {}
  ParquetValue next() override {
    const int64_t prefix = prefixes_.next();
    require(prefix >= 0 && static_cast<uint64_t>(prefix) <= text_.size(), where_, ": a text shares ", prefix, " bytes with one of ",
            text_.size());
    text_.resize(static_cast<size_t>(prefix));
    text_ += suffixes_.next().text;
    require(text_.size() <= kMost, where_, ": a text is longer than ", kMost, " bytes");
    return of_text(text_);
  }

 private:
  static constexpr size_t kMost = size_t{1} << 28;
  Deltas prefixes_;
  DeltaTexts suffixes_;
  std::string where_, text_;
};

// The first bytes of all values, then their second bytes, and so on (BYTE_STREAM_SPLIT).
class SplitBytes : public ParquetValues {
 public:
  SplitBytes(ParquetType type, std::string_view bytes, std::string where)
      : type_(type), size_(type == ParquetType::int32 || type == ParquetType::float32 ? 4 : 8), bytes_(bytes), where_(std::move(where)) {
    require(bytes.size() % size_ == 0, where_, ": has ", bytes.size(), " bytes, which are no whole number of values");
  }
  ParquetValue next() override {
    const size_t count = bytes_.size() / size_;
    require(next_ < count, where_, ": its values end early");
    char value[8];
    for (size_t i = 0; i < size_; ++i) value[i] = bytes_[i * count + next_];
    ++next_;
    return PlainValues(type_, Bytes({value, size_}, where_)).next();
  }

 private:
  ParquetType type_;
  size_t size_, next_ = 0;
  std::string_view bytes_;
  std::string where_;
};

bool is_integer(ParquetType type) { return type == ParquetType::int32 || type == ParquetType::int64; }
bool is_float(ParquetType type) { return type == ParquetType::float32 || type == ParquetType::float64; }

std::unique_ptr<ParquetValues> dictionary_values(std::string_view bytes, const std::vector<ParquetValue>* dictionary,
                                                 const std::string& where) {
  require(dictionary != nullptr, where, ": has the indices of a dictionary, but there is none before it");
  require(!bytes.empty(), where, ": its values end early");
  const int width = static_cast<uint8_t>(bytes[0]);
  return std::make_unique<DictionaryValues>(*dictionary, ParquetRuns(bytes.substr(1), width, where), where);
}

std::unique_ptr<ParquetValues> boolean_runs(std::string_view bytes, const std::string& where) {
  Bytes all(bytes, where);
  const auto size = all.number<uint32_t>();
  return std::make_unique<BooleanRuns>(ParquetRuns(all.take(size), 1, where));
}

}  // namespace

ParquetRuns::ParquetRuns(std::string_view bytes, int width, const std::string& where) : bytes_(bytes), width_(width), where_(where) {
  require(width >= 0 && width <= 32, where_, ": has integers of ", width, " bits");
}

void ParquetRuns::next_run() {
  Bytes bytes(bytes_, where_);
  const uint64_t header = bytes.varint();
  packed_ = (header & 1) != 0;
  if (packed_) {  // groups of eight; the last one may lack bytes that it does not need
    const uint64_t groups = header >> 1, most = bytes.rest().size();
    require(groups <= UINT32_MAX, where_, ": has a run of ", groups, " groups");
    group_ = bytes.take(std::min(groups * static_cast<uint64_t>(width_), most));
    left_ = width_ == 0 ? groups * 8 : std::min(groups * 8, group_.size() * 8 / static_cast<uint64_t>(width_));
    bit_ = 0;
  } else {
    left_ = header >> 1;
    const std::string_view value = bytes.take(static_cast<uint64_t>(width_ + 7) / 8);
    value_ = 0;
    std::memcpy(&value_, value.data(), value.size());
  }
  bytes_ = bytes.rest();
}

uint32_t ParquetRuns::next() {
  while (left_ == 0) {
    require(!bytes_.empty(), where_, ": its values end early");
    next_run();
  }
  --left_;
  if (!packed_) return value_;
  const auto value = static_cast<uint32_t>(bits_at(group_, bit_, width_));
  bit_ += static_cast<uint64_t>(width_);
  return value;
}

std::unique_ptr<ParquetValues> parquet_values(int64_t encoding, ParquetType type, std::string_view bytes,
                                              const std::vector<ParquetValue>* dictionary, const std::string& where) {
  const Bytes all(bytes, where);
  if (encoding == 0) return std::make_unique<PlainValues>(type, all);
  if (encoding == 2 || encoding == 8) return dictionary_values(bytes, dictionary, where);
  if (encoding == 3 && type == ParquetType::boolean) return boolean_runs(bytes, where);
  if (encoding == 5 && is_integer(type)) return std::make_unique<DeltaIntegers>(type, all);
  if (encoding == 6 && type == ParquetType::bytes) return std::make_unique<DeltaTexts>(all);
  if (encoding == 7 && type == ParquetType::bytes) return std::make_unique<PrefixedTexts>(all);
  if (encoding == 9 && (is_integer(type) || is_float(type))) return std::make_unique<SplitBytes>(type, bytes, where);
  fail(where, ": has the encoding ", encoding, ", which is not read for this type of column");
}

}  // namespace m2bert::data
