#pragma once
#include <string>

#include "m2bert/io/tree.h"

namespace m2bert::io {

// A tree as YAML that read_yaml reads back to the same values: maps and lists in blocks, strings quoted where they would be read as
// something else. Error on NaN and infinity. A missing value is written as ???.
std::string to_yaml(const Tree& tree);

}  // namespace m2bert::io
