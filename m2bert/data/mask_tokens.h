#pragma once
// Masks tokens for masked language modelling.
#include <cstdint>
#include <span>
#include <vector>

#include "m2bert/random.h"
#include "m2bert/tokenize/wordpiece.h"

namespace m2bert::data {

inline constexpr int32_t kNoLabel = -100;

enum class Masking {
  random,  // BERT's rule, as in Hugging Face's DataCollatorForLanguageModeling
  every,   // positions 1, 1 + k, 1 + 2k, ... of a row become [MASK], k = round(1 / probability); deterministic, for comparisons
  given,   // the data set has the labels: column `labels` beside `tokens`
};

// Immutable and thread-safe.
class TokenMasker {
 public:
  // Throws unless 0 <= probability <= 1 (0 < probability for `every`) and the vocabulary has [MASK].
  TokenMasker(const tokenize::WordPiece& tokenizer, Masking masking, double probability);

  // Masks ids in place and writes all labels. Special tokens ([CLS], [SEP], [PAD], [UNK], [MASK], at any position) are never selected.
  // With BERT's rule every other token is selected with the given probability; of the selected ones 80% become [MASK], 10% a random token
  // of the vocabulary, and 10% stay. The label of a selected token is its original id, all others are -100.
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
