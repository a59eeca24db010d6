#pragma once
// Packs texts into token samples of a fixed length.
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "m2bert/tokenize/wordpiece.h"

namespace m2bert::data {

struct TokenPackOptions {
  int length = 0;                  // tokens of a sample, including bos_text and eos_text
  std::string bos_text = "[CLS]";  // begins each sample
  std::string eos_text = "[SEP]";  // ends it
  bool wrap = true;                // the rest of a text continues in the next sample; else it is dropped
};

class TokenPacker {
 public:
  // Throws if the length leaves no room for a token between bos_text and eos_text.
  TokenPacker(const tokenize::WordPiece& tokenizer, const TokenPackOptions& options);

  // Adds a text's tokens (without special ones) and passes each complete sample to `take`: int64 values as bytes. As upstream does, a
  // sample is made once `length` tokens wait, though with bos and eos fewer would do.
  void add(std::span<const int32_t> ids, const std::function<void(std::string&&)>& take);

  // Tokens that wait for a complete sample; dropped at the end.
  const std::vector<int32_t>& waiting() const { return waiting_; }
  void restore(std::vector<int32_t> waiting) { waiting_ = std::move(waiting); }
  const std::vector<int32_t>& bos() const { return bos_; }
  const std::vector<int32_t>& eos() const { return eos_; }

 private:
  std::string sample(std::span<const int32_t> ids) const;
  std::vector<int32_t> bos_, eos_, waiting_;
  size_t length_;
  bool wrap_;
};

}  // namespace m2bert::data
