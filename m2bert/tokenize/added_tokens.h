#pragma once
// Tokens that are matched in the text before it is split into words: [CLS], [MASK] and the added tokens of a tokenizer.json.
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
  bool normalized = false;   // matched in the normalised text, by its own normalised form
  bool single_word = false;  // not next to a word character
  bool lstrip = false;       // strips the white space before it
  bool rstrip = false;       // strips the white space after it
};

struct AddedMatch {
  size_t begin, end;  // bytes, stripped white space included
  int32_t id;
};

// Finds the leftmost, then the longest tokens, as the tokenizers package does.
class AddedTokens {
 public:
  AddedTokens() = default;
  // patterns[i] is the form of tokens[i] in the text to search; not empty.
  AddedTokens(std::vector<AddedToken> tokens, std::vector<std::string> patterns);

  bool empty() const { return tokens_.empty(); }
  // The next match at or after `from`, which starts at 0 and is advanced; false at the end of the text. `done` is the end of the last
  // match: stripping does not go back before it.
  bool next(std::string_view text, size_t& from, size_t done, AddedMatch& match) const;

 private:
  size_t find_first(std::string_view text, size_t from) const;
  const AddedToken* longest_at(std::string_view text, size_t at, size_t& size) const;

  std::vector<AddedToken> tokens_;  // longest pattern first
  std::vector<std::string> patterns_;
  std::array<bool, 256> starts_{};
  int only_start_ = -1;  // the first byte, if all patterns share it; else -1
};

}  // namespace m2bert::tokenize
