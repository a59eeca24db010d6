#pragma once
// Which bytes are UTF-8, and text that is safe to print.
#include <optional>
#include <string>
#include <string_view>

namespace m2bert::io {

// Length of the valid UTF-8 sequence that text starts with, 0 if there is none. text is not empty.
size_t utf8_sequence(std::string_view text);
// Where the first byte stands that is no UTF-8.
std::optional<size_t> find_invalid_utf8(std::string_view text);
// Control characters and bytes outside UTF-8 as \xNN, cut to `most` bytes with "...".
std::string printable(std::string_view text, size_t most = 200);

}  // namespace m2bert::io
