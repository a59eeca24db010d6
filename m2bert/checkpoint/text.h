#pragma once
// Text out of untrusted files: UTF-8 checks, and a form that is safe to print.
#include <string>
#include <string_view>

namespace m2bert::checkpoint {

bool valid_utf8(std::string_view text);
// UTF-8 but for encoded surrogates, which Python's pickle writes for broken file names.
bool surrogates_only(std::string_view text);
// Control characters and bytes outside UTF-8 as \xNN, cut to `most` bytes with "...".
std::string printable(std::string_view text, size_t most = 200);

}  // namespace m2bert::checkpoint
