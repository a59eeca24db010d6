#pragma once
// Numbers as text.
#include <cstdint>
#include <string>

namespace m2bert::io {

// A number with that many digits after the point: fixed_text(12.3456, 2) is "12.35".
std::string fixed_text(double value, int digits);
// "1 sample", "2 samples".
std::string counted(uint64_t count, const std::string& what);

}  // namespace m2bert::io
