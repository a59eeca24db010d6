#include "m2bert/data/mask_tokens.h"

#include <cmath>

#include "m2bert/error.h"

namespace m2bert::data {

TokenMasker::TokenMasker(const tokenize::WordPiece& tokenizer, Masking masking, double probability)
    : special_(tokenizer.vocab_size()), masking_(masking), probability_(probability), mask_id_(tokenizer.mask_id()) {
  require(probability >= 0 && probability <= 1, "mlm_probability ", probability, ": wants 0 to 1");
  require(masking != Masking::every || probability > 0, "masking 'every' wants an mlm_probability above 0");
  require(mask_id_ >= 0, "the vocabulary has no [MASK] token, which masking needs");
  if (masking == Masking::every) stride_ = static_cast<size_t>(std::llround(1 / probability));
  for (size_t id = 0; id < special_.size(); ++id) special_[id] = tokenizer.is_special(static_cast<int32_t>(id));
}

int32_t TokenMasker::replacement(int32_t id, Random& random) const {
  const uint64_t draw = random.below(10);
  if (draw < 8) return mask_id_;
  return draw == 8 ? static_cast<int32_t>(random.below(special_.size())) : id;
}

void TokenMasker::mask(std::span<int32_t> ids, std::span<int32_t> labels, Random random) const {
  for (size_t i = 0; i < ids.size(); ++i) {
    labels[i] = kNoLabel;
    if (special_.at(static_cast<size_t>(ids[i]))) continue;
    if (masking_ == Masking::random) {
      if (random.uniform() >= probability_) continue;
      labels[i] = ids[i];
      ids[i] = replacement(ids[i], random);
    } else if (i % stride_ == 1 % stride_) {
      labels[i] = ids[i];
      ids[i] = mask_id_;
    }
  }
}

}  // namespace m2bert::data
