#include "m2bert/tokenize/unicode.h"

#include <algorithm>

namespace m2bert::tokenize {
namespace {

// The entry whose `from` is c, in a table sorted by it; nullptr if there is none.
template <class Entry>
const Entry* find(const Entry* table, size_t count, char32_t c) {
  const Entry* end = table + count;
  const Entry* at = std::lower_bound(table, end, c, [](const Entry& entry, char32_t wanted) { return entry.from < wanted; });
  return at != end && at->from == c ? at : nullptr;
}

bool continues(const char* p, const char* end, uint8_t low = 0x80, uint8_t high = 0xBF) {
  return p < end && static_cast<uint8_t>(*p) >= low && static_cast<uint8_t>(*p) <= high;
}

char32_t bits(const char* p) { return static_cast<uint8_t>(*p) & 0x3F; }

// The bounds of the second byte exclude overlong forms, surrogates and values above U+10FFFF (Unicode, table 3-7).
Decoded decode_multibyte(const char* p, const char* end) {
  const auto lead = static_cast<uint8_t>(*p);
  if (lead < 0xC2 || lead > 0xF4) return {replacement_char, 1};
  if (lead < 0xE0) {
    if (!continues(p + 1, end)) return {replacement_char, 1};
    return {static_cast<char32_t>(lead & 0x1F) << 6 | bits(p + 1), 2};
  }
  const uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (!continues(p + 1, end, low, high)) return {replacement_char, 1};
  if (!continues(p + 2, end)) return {replacement_char, 2};
  if (lead < 0xF0) return {static_cast<char32_t>(lead & 0x0F) << 12 | bits(p + 1) << 6 | bits(p + 2), 3};
  if (!continues(p + 3, end)) return {replacement_char, 3};
  return {static_cast<char32_t>(lead & 0x07) << 18 | bits(p + 1) << 12 | bits(p + 2) << 6 | bits(p + 3), 4};
}

// Hangul syllables decompose by arithmetic (Unicode, 3.12).
size_t decompose_hangul(uint32_t syllable, char32_t out[4]) {
  constexpr uint32_t vowels = 21, tails = 28;
  out[0] = 0x1100 + syllable / (vowels * tails);
  out[1] = 0x1161 + syllable / tails % vowels;
  if (syllable % tails == 0) return 2;
  out[2] = 0x11A7 + syllable % tails;
  return 3;
}

}  // namespace

Decoded decode_utf8(const char* text, const char* end) {
  const auto lead = static_cast<uint8_t>(*text);
  if (lead < 0x80) return {lead, 1};
  return decode_multibyte(text, end);
}

uint32_t encode_utf8(char32_t c, char* out) {
  const auto tail = [&](int at, int shift) { out[at] = static_cast<char>(0x80 | ((c >> shift) & 0x3F)); };
  if (c < 0x80) {
    out[0] = static_cast<char>(c);
    return 1;
  }
  if (c < 0x800) {
    out[0] = static_cast<char>(0xC0 | c >> 6);
    tail(1, 0);
    return 2;
  }
  if (c < 0x10000) {
    out[0] = static_cast<char>(0xE0 | c >> 12);
    tail(1, 6);
    tail(2, 0);
    return 3;
  }
  out[0] = static_cast<char>(0xF0 | c >> 18);
  tail(1, 12);
  tail(2, 6);
  tail(3, 0);
  return 4;
}

Decoded last_utf8(const char* text, const char* end) {
  for (const char* p = end; p > text && end - p < 4;) {
    const Decoded decoded = decode_utf8(--p, end);
    if (static_cast<ptrdiff_t>(decoded.size) == end - p && decoded.c != replacement_char) return decoded;
  }
  return {replacement_char, 0};
}

size_t decompose(char32_t c, char32_t out[4]) {
  if (c >= 0xAC00 && c < 0xAC00 + 11172) return decompose_hangul(c - 0xAC00, out);
  const auto* entry = find(tables::decompositions, tables::decomposition_count, c);
  if (!entry) {
    out[0] = c;
    return 1;
  }
  size_t length = 0;
  while (length < 4 && entry->to[length]) {
    out[length] = entry->to[length];
    ++length;
  }
  return length;
}

size_t lower(char32_t c, char32_t out[2]) {
  const auto* entry = find(tables::lowers, tables::lower_count, c);
  out[0] = entry ? entry->to[0] : c;
  out[1] = entry ? entry->to[1] : 0;
  return out[1] ? 2 : 1;
}

uint8_t combining_rank(char32_t c) {
  if (!(flags_of(c) & char_combines)) return 0;
  const auto* entry = find(tables::combining_classes, tables::combining_class_count, c);
  return entry ? entry->rank : 0;
}

}  // namespace m2bert::tokenize
