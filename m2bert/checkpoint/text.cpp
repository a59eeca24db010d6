#include "m2bert/checkpoint/text.h"

#include <cstdint>

namespace m2bert::checkpoint {
namespace {

// Length of the well-formed sequence at the front, 0 if there is none.
size_t sequence(std::string_view text, bool allow_surrogates) {
  auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  size_t n = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < n) return 0;
  for (size_t i = 1; i < n; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  if ((lead == 0xe0 && byte(1) < 0xa0) || (lead == 0xf0 && byte(1) < 0x90) || (lead == 0xf4 && byte(1) > 0x8f)) return 0;
  if (lead == 0xed && byte(1) > 0x9f && !allow_surrogates) return 0;
  return n;
}

bool well_formed(std::string_view text, bool allow_surrogates) {
  while (!text.empty()) {
    size_t n = sequence(text, allow_surrogates);
    if (n == 0) return false;
    text.remove_prefix(n);
  }
  return true;
}

}  // namespace

bool valid_utf8(std::string_view text) { return well_formed(text, false); }
bool surrogates_only(std::string_view text) { return well_formed(text, true); }

}  // namespace m2bert::checkpoint
