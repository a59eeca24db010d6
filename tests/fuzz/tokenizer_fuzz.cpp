// Bytes as a tokenizer file, and as text for the built-in vocabulary on both paths, which must agree.
#include "m2bert/error.h"
#include "m2bert/tokenize/wordpiece.h"
#include "m2bert/tokenize/words.h"

#include <cstdlib>
#include <string_view>

using namespace m2bert;

namespace {

void encode_both_ways(const tokenize::WordPiece& tokenizer, std::string_view text) {
  std::vector<tokenize::Piece> fast, general;
  tokenize::Splitter(tokenizer.model()).split(text, SIZE_MAX, fast, true);
  tokenize::Splitter(tokenizer.model()).split(text, SIZE_MAX, general, false);
  if (fast.size() != general.size()) std::abort();
  for (size_t i = 0; i < fast.size(); ++i) {
    if (fast[i].id != general[i].id || fast[i].begin != general[i].begin || fast[i].end != general[i].end) std::abort();
    if (fast[i].begin > fast[i].end || fast[i].end > text.size()) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  static const auto bert = tokenize::WordPiece::builtin();
  if (data[0] % 3 == 0) {
    encode_both_ways(bert, text);
    return 0;
  }
  try {
    const auto read = data[0] % 3 == 1 ? tokenize::WordPiece::from_json(text, "fuzz") : tokenize::WordPiece::from_vocabulary(text, "fuzz");
    encode_both_ways(read, text);
    read.decode(read.encode(text).ids);
  } catch (const Error&) {
  }
  return 0;
}
