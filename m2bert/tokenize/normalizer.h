#pragma once
// BERT's text normalisation with the place in the text that each resulting character comes from.
#include <cstdint>
#include <string_view>
#include <vector>

namespace m2bert::tokenize {

struct NormalizerOptions {
  bool clean_text = true;     // drop control characters, every white space becomes ' '
  bool split_chinese = true;  // spaces around Chinese characters
  bool strip_accents = true;  // canonical decomposition without nonspacing marks
  bool lowercase = true;
};

// A character of the normalised text; [begin, end) are bytes of the text it stands for.
struct Char {
  char32_t c;
  uint32_t begin, end;
};

// Normalises a text (UTF-8, ill-formed sequences are U+FFFD) into `out`, which is cleared first. `base` is added to all places.
void normalize(std::string_view text, uint32_t base, const NormalizerOptions& options, std::vector<Char>& out);

}  // namespace m2bert::tokenize
