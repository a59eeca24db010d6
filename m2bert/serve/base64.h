#pragma once
#include <span>
#include <string>

namespace m2bert::serve {

// RFC 4648, with padding.
std::string base64(std::span<const unsigned char> bytes);
// float32 values as little-endian bytes, as OpenAI's encoding_format "base64".
std::string base64(std::span<const float> values);

}  // namespace m2bert::serve
