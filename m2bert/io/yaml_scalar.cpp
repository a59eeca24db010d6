#include "m2bert/io/yaml_scalar.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>

namespace m2bert::io {
namespace {

bool one_of(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

bool digit(char c) { return c >= '0' && c <= '9'; }
bool digit_or_line(char c) { return digit(c) || c == '_'; }

// A cursor over the text: each step consumes what matches and says how much.
struct Scan {
  std::string_view text;
  size_t at = 0;

  bool done() const { return at == text.size(); }
  template <class Fits>
  size_t run(Fits fits) {
    const size_t begin = at;
    while (!done() && fits(text[at])) ++at;
    return at - begin;
  }
  bool one(std::string_view characters) {
    if (done() || characters.find(text[at]) == std::string_view::npos) return false;
    ++at;
    return true;
  }
  bool word(std::string_view word) {
    if (text.substr(at, word.size()) != word) return false;
    at += word.size();
    return true;
  }
  // [eE][-+]?digits; the sign may be required.
  bool exponent(bool signed_only) {
    if (!one("eE")) return false;
    if (!one("+-") && signed_only) return false;
    return run(digit) > 0;
  }
  // (?:[0-5]?[0-9]) after each colon; at least one.
  bool sixties() {
    bool any = false;
    while (one(":")) {
      const size_t n = run(digit);
      if (n == 0 || n > 2 || (n == 2 && text[at - 2] > '5')) return false;
      any = true;
    }
    return any;
  }
};

enum class Number { no, binary, octal, decimal, hex, sixties, real, real_sixties, infinity, nan };

// digits(_digits)*: the stricter grouping of OmegaConf's own pattern.
bool grouped(Scan& scan) {
  if (scan.run(digit) == 0) return false;
  while (!scan.done() && scan.text[scan.at] == '_') {
    const size_t back = scan.at++;
    if (scan.run(digit) == 0) {
      scan.at = back;
      break;
    }
  }
  return true;
}

Number classify_integer(std::string_view text) {
  Scan scan{text};
  scan.one("+-");
  const Scan start = scan;
  if (scan.word("0b") && scan.run([](char c) { return c == '0' || c == '1' || c == '_'; }) && scan.done()) return Number::binary;
  scan = start;
  if (scan.word("0x") && scan.run([](char c) { return digit_or_line(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }) &&
      scan.done()) {
    return Number::hex;
  }
  scan = start;
  if (scan.word("0") && scan.run([](char c) { return (c >= '0' && c <= '7') || c == '_'; }) && scan.done()) return Number::octal;
  scan = start;
  if (scan.word("0") && scan.done()) return Number::decimal;
  scan = start;
  if (!scan.one("123456789")) return Number::no;
  scan.run(digit_or_line);
  if (scan.done()) return Number::decimal;
  return scan.sixties() && scan.done() ? Number::sixties : Number::no;
}

Number classify_real(std::string_view text) {
  Scan scan{text};
  const bool sign = scan.one("+-");
  const Scan start = scan;
  if (one_of(text.substr(scan.at), {".inf", ".Inf", ".INF"})) return Number::infinity;
  if (!sign && one_of(text, {".nan", ".NaN", ".NAN"})) return Number::nan;
  if (scan.one(".")) {  // .5, .5e+3: no sign before it, but one in the exponent
    if (sign || scan.run(digit) == 0) return Number::no;
    scan.run(digit_or_line);
    return scan.done() || (scan.exponent(true) && scan.done()) ? Number::real : Number::no;
  }
  if (!scan.one("0123456789")) return Number::no;
  scan.run(digit_or_line);
  if (scan.one(".")) {
    scan.run(digit_or_line);
    if (scan.done() || (scan.exponent(false) && scan.done())) return Number::real;
    return Number::no;
  }
  if (scan.sixties()) {
    if (!scan.one(".")) return Number::no;
    scan.run(digit_or_line);
    return scan.done() ? Number::real_sixties : Number::no;
  }
  scan = start;  // 1e-3
  return grouped(scan) && scan.exponent(false) && scan.done() ? Number::real : Number::no;
}

struct Unsigned {
  bool negative = false;
  std::string digits;
};

Unsigned strip(std::string_view text) {
  Unsigned out;
  if (text[0] == '-' || text[0] == '+') {
    out.negative = text[0] == '-';
    text.remove_prefix(1);
  }
  std::copy_if(text.begin(), text.end(), std::back_inserter(out.digits), [](char c) { return c != '_'; });
  return out;
}

int64_t to_integer(std::string_view text, int base, size_t skip) {
  const Unsigned number = strip(text);
  std::string digits = number.digits.substr(std::min(skip, number.digits.size()));
  if (number.negative) digits.insert(digits.begin(), '-');
  if (digits.empty() || digits == "-") fail(text, " is a number without digits");
  int64_t value = 0;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (result.ec != std::errc() || result.ptr != digits.data() + digits.size()) fail("the integer ", text, " does not fit into 64 bits");
  return value;
}

// 1:30 is 90, base 60.
double from_sixties(std::string_view text) {
  const Unsigned number = strip(text);
  double value = 0;
  for (size_t at = 0; at <= number.digits.size();) {
    const size_t end = std::min(number.digits.find(':', at), number.digits.size());
    value = value * 60 + std::strtod(number.digits.substr(at, end - at).c_str(), nullptr);
    at = end + 1;
  }
  return number.negative ? -value : value;
}

}  // namespace

Tree resolve_yaml_scalar(std::string_view text) {
  if (one_of(text, {"", "~", "null", "Null", "NULL"})) return nullptr;
  if (text == "???") return Tree::Missing{"it is marked ??? (mandatory): set it in the file or with key=value"};
  if (one_of(text, {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"})) return true;
  if (one_of(text, {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"})) return false;
  if (!digit(text[0]) && text[0] != '+' && text[0] != '-' && text[0] != '.') return text;
  Number kind = classify_integer(text);
  if (kind == Number::no) kind = classify_real(text);
  switch (kind) {
    case Number::no: break;
    case Number::binary: return to_integer(text, 2, 2);
    case Number::octal: return to_integer(text, 8, 0);
    case Number::decimal: return to_integer(text, 10, 0);
    case Number::hex: return to_integer(text, 16, 2);
    case Number::sixties: {
      const double value = from_sixties(text);
      if (!(std::abs(value) < 9e15)) fail("the integer ", text, " is too large");
      return static_cast<int64_t>(value);
    }
    case Number::real: {
      const Unsigned number = strip(text);
      const double value = std::strtod(number.digits.c_str(), nullptr);
      return number.negative ? -value : value;
    }
    case Number::real_sixties: return from_sixties(text);
    case Number::infinity: return text[0] == '-' ? -INFINITY : INFINITY;
    case Number::nan: return std::nan("");
  }
  return text;
}

std::string python_text(const Tree& scalar) {
  switch (scalar.kind()) {
    case Tree::Kind::null: return "None";
    case Tree::Kind::boolean: return scalar.boolean() ? "True" : "False";
    case Tree::Kind::integer: return std::to_string(scalar.integer());
    case Tree::Kind::string: return scalar.string();
    case Tree::Kind::number: break;
    default: scalar.wants("a value that can stand inside a text");
  }
  const double value = scalar.number();
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 40> text{};
  const auto print = [&](std::chars_format format) {
    return std::string(text.data(), std::to_chars(text.data(), text.data() + text.size(), value, format).ptr);
  };
  const std::string scientific = print(std::chars_format::scientific);  // 1e-05: Python's form too
  const int exponent = std::atoi(scientific.c_str() + scientific.find('e') + 1);
  if (exponent < -4 || exponent >= 16) return scientific;
  const std::string fixed = print(std::chars_format::fixed);
  return fixed.find('.') == std::string::npos ? fixed + ".0" : fixed;
}

}  // namespace m2bert::io
