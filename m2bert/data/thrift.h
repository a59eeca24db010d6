#pragma once
// Reads values in Thrift's compact protocol, in which Parquet files store their metadata.
// Source: Apache Thrift, "Thrift Compact protocol encoding".
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace m2bert::data {

// Every size is checked against the bytes that are left, and nesting is limited. Errors: "WHAT: its metadata is damaged: why".
class ThriftReader {
 public:
  enum class Type : uint8_t { yes = 1, no, byte, i16, i32, i64, number, binary, list, set, map, structure };

  // what: what errors call the bytes.
  ThriftReader(std::string_view bytes, std::string what) : bytes_(bytes), what_(std::move(what)) {}

  // Calls `field` with the id and the type of every field of a struct. It must read the value, or skip it.
  void structure(const std::function<void(int id, Type type)>& field);
  // Calls `item` for every item of a list, with the type of the items.
  void list(Type type, const std::function<void(Type item)>& item);
  // The value of a field of this type; an error if the type is another kind.
  bool boolean(Type type) const;
  int64_t integer(Type type);
  std::string_view binary(Type type);
  void skip(Type type);

  // Bytes read so far.
  size_t position() const { return at_; }

 private:
  [[noreturn]] void damaged(const char* why) const;
  uint8_t byte();
  uint64_t varint();
  std::string_view take(uint64_t size);
  void enter();
  std::string_view bytes_;
  std::string what_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace m2bert::data
