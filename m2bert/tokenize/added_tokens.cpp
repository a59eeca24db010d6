#include "m2bert/tokenize/added_tokens.h"

#include "m2bert/tokenize/unicode.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace m2bert::tokenize {
namespace {

bool word_before(std::string_view text, size_t at) {
  const Decoded last = last_utf8(text.data(), text.data() + at);
  return last.size > 0 && (flags_of(last.c) & char_word);
}

bool word_after(std::string_view text, size_t at) {
  return at < text.size() && (flags_of(decode_utf8(text.data() + at, text.data() + text.size()).c) & char_word);
}

size_t space_before(std::string_view text, size_t at) {
  for (;;) {
    const Decoded last = last_utf8(text.data(), text.data() + at);
    if (last.size == 0 || !(flags_of(last.c) & char_space)) return at;
    at -= last.size;
  }
}

size_t space_after(std::string_view text, size_t at) {
  while (at < text.size()) {
    const Decoded next = decode_utf8(text.data() + at, text.data() + text.size());
    if (!(flags_of(next.c) & char_space)) break;
    at += next.size;
  }
  return at;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, std::vector<std::string> patterns) {
  std::vector<size_t> order(tokens.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return patterns[a].size() > patterns[b].size(); });
  for (size_t i : order) {
    starts_[static_cast<uint8_t>(patterns[i][0])] = true;
    tokens_.push_back(std::move(tokens[i]));
    patterns_.push_back(std::move(patterns[i]));
  }
  if (std::count(starts_.begin(), starts_.end(), true) == 1) {
    only_start_ = static_cast<int>(std::find(starts_.begin(), starts_.end(), true) - starts_.begin());
  }
}

size_t AddedTokens::find_first(std::string_view text, size_t from) const {
  if (only_start_ >= 0) {
    const void* found = from < text.size() ? std::memchr(text.data() + from, only_start_, text.size() - from) : nullptr;
    return found ? static_cast<size_t>(static_cast<const char*>(found) - text.data()) : text.size();
  }
  while (from < text.size() && !starts_[static_cast<uint8_t>(text[from])]) ++from;
  return from;
}

const AddedToken* AddedTokens::longest_at(std::string_view text, size_t at, size_t& size) const {
  for (size_t i = 0; i < tokens_.size(); ++i) {
    if (text.substr(at).starts_with(patterns_[i])) {
      size = patterns_[i].size();
      return &tokens_[i];
    }
  }
  return nullptr;
}

bool AddedTokens::next(std::string_view text, size_t& from, size_t done, AddedMatch& match) const {
  if (tokens_.empty()) return false;
  for (from = find_first(text, from); from < text.size(); from = find_first(text, from)) {
    size_t size = 0;
    const AddedToken* token = longest_at(text, from, size);
    if (!token) {
      ++from;
      continue;
    }
    match = {from, from + size, token->id};
    from += size;
    if (token->single_word && (word_before(text, match.begin) || word_after(text, match.end))) continue;
    if (match.begin < done) continue;
    if (token->lstrip) match.begin = std::max(space_before(text, match.begin), done);
    if (token->rstrip) match.end = space_after(text, match.end);
    return true;
  }
  return false;
}

}  // namespace m2bert::tokenize
