#pragma once
// Tokens that are found in the text before it is split into words: [CLS], [MASK] and what a tokenizer.json adds.
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace m2bert::tokenize {

struct AddedToken {
  std::string content;
  int32_t id = -1;
  bool special = true;       // decode() may skip it
  bool normalized = false;   // looked for in the normalised text, as its own normalised form
  bool single_word = false;  // not beside a word character
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space after it
};

struct AddedMatch {
  size_t begin, end;  // bytes, stripped white space included
  int32_t id;
};

// Finds the leftmost, then longest tokens, as the tokenizers package does.
class AddedTokens {
 public:
  AddedTokens() = default;
  // patterns[i] is what tokens[i] looks like in the text that will be searched; not empty.
  AddedTokens(std::vector<AddedToken> tokens, std::vector<std::string> patterns);

  bool empty() const { return tokens_.empty(); }
  // The next match at or after `from`, which starts at 0 and is moved on; false at the end of the text. `done` is where the last
  // match ended: stripping does not go back behind it.
  bool next(std::string_view text, size_t& from, size_t done, AddedMatch& match) const;

 private:
  size_t find_first(std::string_view text, size_t from) const;
  const AddedToken* longest_at(std::string_view text, size_t at, size_t& size) const;

  std::vector<AddedToken> tokens_;  // longest pattern first
  std::vector<std::string> patterns_;
  std::array<bool, 256> starts_{};
  int only_start_ = -1;  // the one first byte of all patterns
};

}  // namespace m2bert::tokenize
