#pragma once
// What a YAML scalar without quotes means, by the rules of OmegaConf's loader (PyYAML's YAML 1.1 with numbers like 1e-3).
#include <string>
#include <string_view>

#include "m2bert/io/tree.h"

namespace m2bert::io {

// null, boolean, integer, number, missing (???) or string. Error: an integer beyond 64 bits.
Tree resolve_yaml_scalar(std::string_view text);

// A scalar as Python's str() formats it: what an interpolation inserts into a longer string.
std::string python_text(const Tree& scalar);

}  // namespace m2bert::io
