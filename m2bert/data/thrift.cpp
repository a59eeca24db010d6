#include "m2bert/data/thrift.h"

#include "m2bert/error.h"

namespace m2bert::data {
namespace {

constexpr int kMaxDepth = 24;  // Parquet's own metadata needs less than ten

int64_t zigzag(uint64_t value) { return static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1); }

}  // namespace

void ThriftReader::damaged(const char* why) const { fail(what_, ": its metadata is damaged: ", why, " at byte ", at_); }

uint8_t ThriftReader::byte() {
  if (at_ == bytes_.size()) damaged("it ends early");
  return static_cast<uint8_t>(bytes_[at_++]);
}

uint64_t ThriftReader::varint() {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const uint8_t next = byte();
    value |= static_cast<uint64_t>(next & 0x7F) << shift;
    if (next < 0x80) return value;
  }
  damaged("a number is too long");
}

std::string_view ThriftReader::take(uint64_t size) {
  if (size > bytes_.size() - at_) damaged("it ends early");
  const std::string_view taken = bytes_.substr(at_, size);
  at_ += size;
  return taken;
}

void ThriftReader::enter() {
  if (++depth_ > kMaxDepth) damaged("it is nested too deeply");
}

void ThriftReader::structure(const std::function<void(int id, Type type)>& field) {
  enter();
  int64_t id = 0;
  while (const uint8_t header = byte()) {
    const int delta = header >> 4, type = header & 0xF;
    id = delta > 0 ? id + delta : zigzag(varint());
    if (type < 1 || type > 12) damaged("a field has an unknown type");
    if (id < INT16_MIN || id > INT16_MAX) damaged("a field has an unknown number");
    field(static_cast<int>(id), static_cast<Type>(type));
  }
  --depth_;
}

void ThriftReader::list(Type type, const std::function<void(Type item)>& item) {
  if (type != Type::list && type != Type::set) damaged("a field is no list");
  enter();
  const uint8_t header = byte();
  const uint64_t size = (header >> 4) == 15 ? varint() : header >> 4;
  const int of = header & 0xF;
  if (size > bytes_.size() - at_) damaged("a list has more items than bytes");  // every item takes one at least
  if (of < 1 || of > 12) damaged("a list has items of an unknown type");
  for (uint64_t i = 0; i < size; ++i) {
    const bool boolean = of <= 2;  // in a list, a byte
    item(boolean ? (byte() == 1 ? Type::yes : Type::no) : static_cast<Type>(of));
  }
  --depth_;
}

bool ThriftReader::boolean(Type type) const {
  if (type != Type::yes && type != Type::no) damaged("a field is no boolean");
  return type == Type::yes;
}

int64_t ThriftReader::integer(Type type) {
  if (type == Type::byte) return static_cast<int8_t>(byte());
  if (type != Type::i16 && type != Type::i32 && type != Type::i64) damaged("a field is no integer");
  return zigzag(varint());
}

std::string_view ThriftReader::binary(Type type) {
  if (type != Type::binary) damaged("a field is no text");
  return take(varint());
}

void ThriftReader::skip(Type type) {
  switch (type) {
    case Type::yes:
    case Type::no: return;
    case Type::byte: take(1); return;
    case Type::i16:
    case Type::i32:
    case Type::i64: varint(); return;
    case Type::number: take(8); return;
    case Type::binary: binary(type); return;
    case Type::list:
    case Type::set: return list(type, [this](Type item) { skip(item); });
    case Type::structure: return structure([this](int, Type field) { skip(field); });
    case Type::map: break;
  }
  enter();
  const uint64_t size = varint();
  if (size > bytes_.size() - at_) damaged("a map has more members than bytes");
  const uint8_t types = size > 0 ? byte() : 0;
  for (uint64_t i = 0; i < size; ++i) {
    for (const int of : {types >> 4, types & 0xF}) {
      if (of < 1 || of > 12) damaged("a map has members of an unknown type");
      if (of <= 2) take(1);
      else skip(static_cast<Type>(of));
    }
  }
  --depth_;
}

}  // namespace m2bert::data
