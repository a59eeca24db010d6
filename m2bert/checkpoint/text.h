#pragma once
// Text from untrusted files: UTF-8 validation, and a form that is safe to print.
#include <string_view>

#include "m2bert/io/utf8.h"

namespace m2bert::checkpoint {

bool valid_utf8(std::string_view text);
// UTF-8 but for encoded surrogates, which Python's pickle writes for broken file names.
bool surrogates_only(std::string_view text);
using io::printable;

}  // namespace m2bert::checkpoint
