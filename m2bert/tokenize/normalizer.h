#pragma once
// BERT's text normalisation, with the source position of each resulting character.
#include <cstdint>
#include <string_view>
#include <vector>

namespace m2bert::tokenize {

struct NormalizerOptions {
  bool clean_text = true;     // drop control characters, replace white space with ' '
  bool split_chinese = true;  // spaces around Chinese characters
  bool strip_accents = true;  // canonical decomposition without nonspacing marks
  bool lowercase = true;
};

// A character of the normalised text; [begin, end) are the bytes it came from.
struct Char {
  char32_t c;
  uint32_t begin, end;
};

// Normalises a text (UTF-8, ill-formed sequences are U+FFFD) into `out`, which is cleared first. `base` is added to all positions.
void normalize(std::string_view text, uint32_t base, const NormalizerOptions& options, std::vector<Char>& out);

}  // namespace m2bert::tokenize
