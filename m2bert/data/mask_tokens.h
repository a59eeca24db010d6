#pragma once
// Which tokens of a row a masked language model has to guess.
#include <cstdint>
#include <span>
#include <vector>

#include "m2bert/data/random.h"
#include "m2bert/tokenize/wordpiece.h"

namespace m2bert::data {

inline constexpr int32_t kNoLabel = -100;

enum class Masking {
  random,  // BERT's rule, as Hugging Face's DataCollatorForLanguageModeling applies it
  every,   // the tokens at places 1, 1 + k, 1 + 2k, ... of a row become [MASK], k = 1 / probability rounded; for comparisons
  given,   // the data says it: the column `labels` beside `tokens`
};

// Immutable, any thread.
class TokenMasker {
 public:
  // Error: a probability outside 0 to 1 (for `every`: above 0), or a vocabulary without [MASK].
  TokenMasker(const tokenize::WordPiece& tokenizer, Masking masking, double probability);

  // Changes ids and sets all labels. Special tokens ([CLS], [SEP], [PAD], [UNK], [MASK], wherever they stand) are never chosen. By BERT's
  // rule each other token is chosen with the probability; of the chosen ones 80% become [MASK], 10% any token of the vocabulary, 10% stay.
  // The label of a chosen token is its id, that of the others -100.
  void mask(std::span<int32_t> ids, std::span<int32_t> labels, Random random) const;

 private:
  int32_t replacement(int32_t id, Random& random) const;
  std::vector<bool> special_;
  Masking masking_;
  double probability_;
  size_t stride_ = 1;
  int32_t mask_id_;
};

}  // namespace m2bert::data
