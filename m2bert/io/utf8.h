#pragma once
// UTF-8 validation, and text that is safe to print.
#include <optional>
#include <string>
#include <string_view>

namespace m2bert::io {

// Length of the valid UTF-8 sequence that text starts with, 0 if there is none. text is not empty.
size_t utf8_sequence(std::string_view text);
// Offset of the first byte that is not valid UTF-8.
std::optional<size_t> find_invalid_utf8(std::string_view text);
// The text with control characters and invalid bytes as \xNN, truncated to max_bytes bytes with "...".
std::string printable(std::string_view text, size_t max_bytes = 200);

}  // namespace m2bert::io
