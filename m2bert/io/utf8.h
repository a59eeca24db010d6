#pragma once
// Which bytes are UTF-8.
#include <optional>
#include <string_view>

namespace m2bert::io {

// Length of the valid UTF-8 sequence that text starts with, 0 if there is none. text is not empty.
size_t utf8_sequence(std::string_view text);
// Where the first byte stands that is no UTF-8.
std::optional<size_t> find_invalid_utf8(std::string_view text);

}  // namespace m2bert::io
