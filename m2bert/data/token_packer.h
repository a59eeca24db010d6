#pragma once
// Texts joined to token samples of one length.
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "m2bert/tokenize/wordpiece.h"

namespace m2bert::data {

struct TokenPackOptions {
  int length = 0;                  // tokens of a sample, with those of the two texts
  std::string bos_text = "[CLS]";  // in front of each sample
  std::string eos_text = "[SEP]";  // behind it
  bool wrap = true;                // the rest of a text goes on in the next sample; else it is dropped
};

class TokenPacker {
 public:
  // Error: length leaves no room for a token between the two texts'.
  TokenPacker(const tokenize::WordPiece& tokenizer, const TokenPackOptions& options);

  // Adds a text's tokens (without special ones), and hands each finished sample out: int64 values as bytes. A sample is made when `length`
  // tokens wait, as the PyTorch code does it, though one with bos and eos needs fewer.
  void add(std::span<const int32_t> ids, const std::function<void(std::string&&)>& take);

  // Tokens that wait for a full sample; at the end they are lost.
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
