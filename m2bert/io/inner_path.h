#pragma once
// Names out of untrusted files and answers that are to become paths inside a folder.
#include <string>
#include <string_view>

namespace m2bert::io {

// What makes a name unfit to be a path inside a folder; "" when nothing does. Unfit: empty, absolute, with "..", "." or empty parts,
// backslashes, control characters, bytes outside UTF-8, parts over 255 or names over 1024 bytes.
std::string why_unsafe(std::string_view name);

}  // namespace m2bert::io
