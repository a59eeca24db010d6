#include "m2bert/serve/base64.h"

#include <bit>
#include <cstdint>

namespace m2bert::serve {

std::string base64(std::span<const unsigned char> bytes) {
  constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t left = std::min<size_t>(3, bytes.size() - i);
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k) group = group << 8 | (k < left ? bytes[i + k] : 0u);
    for (size_t k = 0; k < 4; ++k) text += k <= left ? digits[group >> (18 - 6 * k) & 63] : '=';
  }
  return text;
}

std::string base64(std::span<const float> values) {
  static_assert(std::endian::native == std::endian::little);
  return base64(std::span(reinterpret_cast<const unsigned char*>(values.data()), values.size() * sizeof(float)));
}

}  // namespace m2bert::serve
