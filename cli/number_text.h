#pragma once
// Numbers as text.
#include <string>

namespace m2bert::cli {

// A number with that many digits after the point: fixed_text(12.3456, 2) is "12.35".
std::string fixed_text(double value, int digits);

}  // namespace m2bert::cli
