#include "cli/number_text.h"

#include <cstdio>

namespace m2bert::cli {

std::string fixed_text(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

}  // namespace m2bert::cli
