#pragma once
// Text to word pieces: the part of tokenizing between the raw text and the [CLS] ... [SEP] template. Internal to the folder.
#include "m2bert/tokenize/model.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace m2bert::tokenize {

struct Piece {
  int32_t id;
  uint32_t begin, end;  // bytes of the text
};

// Appends a text's pieces to a list, and may stop once the list is longer than a limit. One object can split many texts in turn.
class Splitter {
 public:
  explicit Splitter(const TokenizerModel& model) : model_(model) {}

  // fast = false: everything takes the general path, for tests that compare both.
  void split(std::string_view text, size_t limit, std::vector<Piece>& out, bool fast = true);

 private:
  void segment(size_t begin, size_t end);
  void general(size_t begin, size_t end);
  void characters(size_t first, size_t last);
  void normalized_with_added();
  void ascii_word(size_t begin, size_t end);
  void flush_word();
  bool full() const { return out_->size() > limit_; }

  const TokenizerModel& model_;
  std::string_view text_;
  std::vector<Piece>* out_ = nullptr;
  size_t limit_ = SIZE_MAX;
  bool fast_ = true;
  std::vector<Char> chars_;
  struct Byte {
    char byte;
    uint32_t begin, end;
  };
  std::vector<Byte> word_;  // of the general path, with the position of each byte
  size_t word_chars_ = 0;
};

}  // namespace m2bert::tokenize
