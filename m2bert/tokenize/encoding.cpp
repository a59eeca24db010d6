#include "m2bert/tokenize/encoding.h"

namespace m2bert::tokenize {
namespace {

template <class T>
void fill(std::vector<T>& values, size_t count, T value, PaddingSide side) {
  values.insert(side == PaddingSide::right ? values.end() : values.begin(), count, value);
}

}  // namespace

void pad(Encoding& encoding, size_t length, int32_t pad_id, PaddingSide side, int32_t pad_type_id) {
  if (encoding.ids.size() >= length) return;
  const size_t count = length - encoding.ids.size();
  fill(encoding.ids, count, pad_id, side);
  fill(encoding.type_ids, count, pad_type_id, side);
  fill(encoding.attention_mask, count, uint8_t{0}, side);
  fill(encoding.special_tokens_mask, count, uint8_t{1}, side);
  fill(encoding.offsets, count, {0, 0}, side);
}

}  // namespace m2bert::tokenize
