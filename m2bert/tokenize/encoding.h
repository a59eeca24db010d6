#pragma once
// The result of tokenizing a text, and padding it to a length.
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace m2bert::tokenize {

// One tokenized text or pair of texts. All vectors have the same length.
struct Encoding {
  std::vector<int32_t> ids;                            // positions in the vocabulary
  std::vector<int32_t> type_ids;                       // 0: first text, 1: second text of a pair
  std::vector<uint8_t> attention_mask;                 // 1: a token, 0: padding
  std::vector<uint8_t> special_tokens_mask;            // 1: added by the template ([CLS], [SEP]) or padding
  std::vector<std::pair<uint32_t, uint32_t>> offsets;  // [begin, end) in bytes of the text it came from; (0, 0) where the mask above is 1
  bool truncated = false;                              // tokens were cut off to keep the maximum length
};

enum class PaddingSide { right, left };

// Appends (or prepends) padding until the encoding has `length` tokens; does nothing if it has as many already.
void pad(Encoding& encoding, size_t length, int32_t pad_id, PaddingSide side = PaddingSide::right, int32_t pad_type_id = 0);

}  // namespace m2bert::tokenize
