#pragma once
// Reads Python pickles without Python: a virtual machine with an allowlist of opcodes that builds plain values and calls nothing.
// A class or function is only a name; a call becomes an opaque value with its arguments.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace m2bert::checkpoint::pickle {

// Index of a value in Pickle::values.
using Ref = uint32_t;

enum class Kind : uint8_t {
  none,
  boolean,       // integer: 0 or 1
  integer,       // integer
  long_integer,  // text: little-endian two's complement, wider than 64 bits
  real,          // real
  text,          // text, UTF-8
  bytes,         // text
  tuple,         // items
  list,          // items
  set,           // items
  dict,          // items: key, value, key, value ...
  global,        // text: "module.name"
  persistent,    // items[0]: the persistent id
  opaque,        // text: the class or function; items: its arguments (tuple), then the states that were set
};

struct Value {
  Kind kind = Kind::none;
  int64_t integer = 0;
  double real = 0;
  size_t offset = 0;  // in the stream, where the value was created
  std::string text;
  std::vector<Ref> items;
};

struct Limits {
  size_t values = size_t{4} << 20;
  size_t stack = size_t{1} << 20;
  size_t items = size_t{16} << 20;  // references held by all containers
  size_t marks = 10'000;
};

struct Pickle {
  std::vector<Value> values;
  Ref root = 0;
  size_t end = 0;  // first byte after STOP

  const Value& operator[](Ref ref) const { return values[ref]; }
};

// Reads one pickle (protocols 0 to 5) at the front of `bytes`. `base` is the offset of bytes[0] in the file: errors name
// `name` and the byte offset in the file. Throws on malformed streams, exceeded limits, opcodes outside the list (extension codes,
// out-of-band buffers) and functions that only a harmful pickle names (os.system, builtins.eval, ...).
Pickle read(std::span<const std::byte> bytes, const std::string& name, uint64_t base = 0, const Limits& limits = {});

// Whether a global can start programs, run code or access files: a pickle that names one is rejected.
bool harmful(std::string_view module, std::string_view name);

}  // namespace m2bert::checkpoint::pickle
