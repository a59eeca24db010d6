#include "m2bert/tokenize/normalizer.h"

#include "m2bert/tokenize/unicode.h"

#include <algorithm>

namespace m2bert::tokenize {
namespace {

// Applies clean_text and split_chinese. Returns the or of the flags of all remaining characters.
uint16_t decode(std::string_view text, uint32_t base, const NormalizerOptions& options, std::vector<Char>& out) {
  uint16_t seen = 0;
  const char* const end = text.data() + text.size();
  for (const char* p = text.data(); p < end;) {
    const Decoded decoded = decode_utf8(p, end);
    Char next{decoded.c, base + static_cast<uint32_t>(p - text.data()), 0};
    next.end = next.begin + decoded.size;
    p += decoded.size;
    const uint16_t flags = flags_of(next.c);
    if (options.clean_text && (flags & char_removed)) continue;
    if (options.clean_text && (flags & char_space)) next.c = U' ';
    seen |= flags;
    const bool spaced = options.split_chinese && (flags & char_chinese);
    if (spaced) out.push_back({U' ', next.begin, next.end});
    out.push_back(next);
    if (spaced) out.push_back({U' ', next.begin, next.end});
  }
  return seen;
}

struct Part {
  char32_t c;
  bool inserted;  // not the first character of its decomposition
  uint8_t rank;
};

std::vector<Part> decompose_all(const std::vector<Char>& text) {
  std::vector<Part> parts;
  parts.reserve(text.size() + text.size() / 2);
  for (const Char& from : text) {
    if (!(flags_of(from.c) & char_decomposes)) {
      parts.push_back({from.c, false, combining_rank(from.c)});
      continue;
    }
    char32_t to[4];
    const size_t length = decompose(from.c, to);
    for (size_t i = 0; i < length; ++i) parts.push_back({to[i], i > 0, combining_rank(to[i])});
  }
  return parts;
}

void order_marks(std::vector<Part>& parts) {
  for (size_t i = 0; i < parts.size();) {
    size_t end = i;
    while (end < parts.size() && parts[end].rank) ++end;
    if (end - i > 1) {
      std::stable_sort(parts.begin() + static_cast<ptrdiff_t>(i), parts.begin() + static_cast<ptrdiff_t>(end),
                       [](const Part& a, const Part& b) { return a.rank < b.rank; });
    }
    i = std::max(end, i + 1);
  }
}

// Positions are assigned in the order of the text, not of the sorted marks, as the tokenizers package does.
void strip_accents(std::vector<Char>& text) {
  std::vector<Part> parts = decompose_all(text);
  order_marks(parts);
  std::vector<Char> out;
  out.reserve(parts.size());
  size_t read = 0;
  for (const Part& part : parts) {
    Char place{part.c, 0, 0};
    if (!part.inserted) {
      place = {part.c, text[read].begin, text[read].end};
      ++read;
    } else if (read > 0) {
      place = {part.c, text[read - 1].begin, text[read - 1].end};
    }
    if (!(flags_of(part.c) & char_nonspacing)) out.push_back(place);
  }
  text = std::move(out);
}

void lowercase(std::vector<Char>& text) {
  std::vector<Char> longer;  // only filled once a character becomes two
  bool copies = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char32_t to[2] = {text[i].c, 0};
    if (flags_of(text[i].c) & char_lowers) lower(text[i].c, to);
    text[i].c = to[0];
    if (to[1] && !copies) {
      longer.assign(text.begin(), text.begin() + static_cast<ptrdiff_t>(i));
      copies = true;
    }
    if (copies) longer.push_back(text[i]);
    if (to[1]) longer.push_back({to[1], text[i].begin, text[i].end});
  }
  if (copies) text = std::move(longer);
}

}  // namespace

void normalize(std::string_view text, uint32_t base, const NormalizerOptions& options, std::vector<Char>& out) {
  out.clear();
  const uint16_t seen = decode(text, base, options, out);
  if (options.strip_accents && (seen & (char_decomposes | char_combines | char_nonspacing))) strip_accents(out);
  if (options.lowercase) lowercase(out);
}

}  // namespace m2bert::tokenize
