#pragma once
// Looks at the first bytes of an input that should be text.
#include <cstddef>
#include <string>
#include <string_view>

namespace m2bert::data {

constexpr size_t kTextHead = 512;  // bytes that are enough for check_text_head

// The bytes of a UTF-8 byte order mark at the beginning: 3, or 0 without one. Throws for UTF-16 and UTF-32, with or without a byte order
// mark, and for binary files, with a message that says what `name` looks like. head: the decompressed beginning.
size_t check_text_head(std::string_view head, const std::string& name);

// Throws BadRecord if the text has a NUL byte or bytes that are not UTF-8. where: "file:line", put in front of the message.
void check_text(std::string_view text, const std::string& where);

}  // namespace m2bert::data
