#pragma once
// Checks names from untrusted files and servers that are to become paths inside a folder.
#include <string>
#include <string_view>

namespace m2bert::io {

// Why a name is unsafe as a path inside a folder; "" if it is safe. Unsafe: empty, absolute, with "..", "." or empty parts, backslashes,
// control characters, invalid UTF-8, parts over 255 bytes or more than 1024 bytes in all.
std::string why_unsafe(std::string_view name);

}  // namespace m2bert::io
