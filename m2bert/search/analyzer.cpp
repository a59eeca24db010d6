#include "m2bert/search/analyzer.h"

#include <algorithm>
#include <array>

#include "m2bert/tokenize/normalizer.h"
#include "m2bert/tokenize/unicode.h"

namespace m2bert::search {
namespace {

// Sorted.
constexpr std::array<std::string_view, 33> kStopWords = {
    "a",  "an", "and", "are",  "as",   "at",  "be",    "but",  "by",    "for",   "if",   "in",   "into", "is",  "it",   "no",  "not",
    "of", "on", "or",  "such", "that", "the", "their", "then", "there", "these", "they", "this", "to",   "was", "will", "with"};

bool is_apostrophe(char32_t c) { return c == '\'' || c == 0x2019; }

// Cuts a text into words, character by character.
class Words {
 public:
  void add(char32_t c) {
    const uint16_t flags = tokenize::flags_of(c);
    if (flags & tokenize::char_chinese) {
      end();
      append(c);
      end();
    } else if (flags & (tokenize::char_word | tokenize::char_nonspacing)) {
      if (apostrophe_) word_ += '\'';
      apostrophe_ = false;
      append(c);
    } else if (is_apostrophe(c) && !word_.empty() && !apostrophe_) {
      apostrophe_ = true;  // part of the word if a letter follows
    } else {
      end();
    }
  }
  std::vector<std::string> finish() {
    end();
    return std::move(words_);
  }

 private:
  void append(char32_t c) {
    char bytes[4];
    word_.append(bytes, tokenize::encode_utf8(c, bytes));
  }
  void end() {
    apostrophe_ = false;
    if (!word_.empty()) words_.push_back(std::move(word_));
    word_.clear();
  }

  std::vector<std::string> words_;
  std::string word_;
  bool apostrophe_ = false;
};

// The text as Porter's algorithm sees it: a word, of which `end` letters are left.
class Stemmer {
 public:
  explicit Stemmer(std::string_view word) : word_(word) {}

  std::string stem() {
    plurals();
    past();
    if (ends("y") && has_vowel()) set("i");
    derived();
    for (const auto& [suffix, with] :
         {Rule{"icate", "ic"}, {"ative", ""}, {"alize", "al"}, {"iciti", "ic"}, {"ical", "ic"}, {"ful", ""}, {"ness", ""}})
      if (ends(suffix)) {
        if (measure() > 0) set(with);
        break;
      }
    endings();
    final_letters();
    return word_;
  }

 private:
  struct Rule {
    std::string_view suffix, with;
  };

  bool consonant(size_t i) const {
    switch (word_[i]) {
      case 'a':
      case 'e':
      case 'i':
      case 'o':
      case 'u': return false;
      case 'y': return i == 0 || !consonant(i - 1);
      default: return true;
    }
  }
  // The number of vowel-consonant sequences before the suffix.
  int measure() const {
    int count = 0;
    for (size_t i = 1; i < stem_; ++i) count += consonant(i) && !consonant(i - 1);
    return count;
  }
  bool has_vowel() const {
    for (size_t i = 0; i < stem_; ++i)
      if (!consonant(i)) return true;
    return false;
  }
  // Whether the first `size` letters end in two equal consonants.
  bool double_consonant(size_t size) const { return size >= 2 && word_[size - 1] == word_[size - 2] && consonant(size - 1); }
  // Whether they end in consonant, vowel, consonant, the last not w, x or y: -wil, -hop.
  bool short_ending(size_t size) const {
    if (size < 3 || !consonant(size - 1) || consonant(size - 2) || !consonant(size - 3)) return false;
    return word_[size - 1] != 'w' && word_[size - 1] != 'x' && word_[size - 1] != 'y';
  }
  // Whether the word ends so; stem_ is then what is before.
  bool ends(std::string_view suffix) {
    if (!word_.ends_with(suffix)) return false;
    stem_ = word_.size() - suffix.size();
    return true;
  }
  // Replaces the suffix.
  void set(std::string_view with) {
    word_.resize(stem_);
    word_ += with;
  }

  void plurals() {
    if (ends("sses")) set("ss");
    else if (ends("ies")) set("i");
    else if (!ends("ss") && ends("s")) set("");
  }
  void past() {
    if (ends("eed")) {
      if (measure() > 0) set("ee");
      return;
    }
    if (!((ends("ed") && has_vowel()) || (ends("ing") && has_vowel()))) return;
    set("");
    stem_ = word_.size();
    if (word_.ends_with("at") || word_.ends_with("bl") || word_.ends_with("iz")) word_ += 'e';
    else if (double_consonant(word_.size())) {
      if (word_.back() != 'l' && word_.back() != 's' && word_.back() != 'z') word_.pop_back();
    } else if (measure() == 1 && short_ending(word_.size())) {
      word_ += 'e';
    }
  }
  void derived() {
    static constexpr Rule rules[] = {{"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"}, {"anci", "ance"}, {"izer", "ize"},
                                     {"bli", "ble"},     {"alli", "al"},     {"entli", "ent"}, {"eli", "e"},     {"ousli", "ous"},
                                     {"ization", "ize"}, {"ation", "ate"},   {"ator", "ate"},  {"alism", "al"},  {"iveness", "ive"},
                                     {"fulness", "ful"}, {"ousness", "ous"}, {"aliti", "al"},  {"iviti", "ive"}, {"biliti", "ble"},
                                     {"logi", "log"}};
    for (const auto& [suffix, with] : rules)
      if (ends(suffix)) {
        if (measure() > 0) set(with);
        return;
      }
  }
  void endings() {
    static constexpr std::string_view suffixes[] = {"al",  "ance", "ence", "er",  "ic",  "able", "ible", "ant", "ement", "ment",
                                                    "ent", "ion",  "ou",   "ism", "ate", "iti",  "ous",  "ive", "ize"};
    for (const std::string_view suffix : suffixes) {
      if (!ends(suffix)) continue;
      if (suffix == "ion" && (stem_ == 0 || (word_[stem_ - 1] != 's' && word_[stem_ - 1] != 't'))) continue;
      if (measure() > 1) set("");
      return;
    }
  }
  void final_letters() {
    if (ends("e")) {
      const int count = measure();
      if (count > 1 || (count == 1 && !short_ending(stem_))) set("");
    }
    stem_ = word_.size();
    if (word_.ends_with('l') && double_consonant(word_.size()) && measure() > 1) word_.pop_back();
  }

  std::string word_;
  size_t stem_ = 0;  // letters before the suffix
};

// The term of a word in English; empty: it is left out.
std::string english_term(std::string word) {
  if (word.ends_with("'s")) word.resize(word.size() - 2);
  return is_stop_word(word) ? std::string() : porter_stem(word);
}

}  // namespace

bool is_stop_word(std::string_view word) { return std::ranges::binary_search(kStopWords, word); }

std::string porter_stem(std::string_view word) {
  const bool letters = std::ranges::all_of(word, [](char c) { return c >= 'a' && c <= 'z'; });
  return word.size() <= 2 || !letters ? std::string(word) : Stemmer(word).stem();
}

std::vector<std::string> analyze(std::string_view text, const AnalyzerOptions& options) {
  Words words;
  const bool ascii = std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 128; });
  if (ascii) {
    for (const char c : text) words.add(static_cast<char32_t>(c >= 'A' && c <= 'Z' ? c + 32 : c));
  } else {
    std::vector<tokenize::Char> chars;
    tokenize::normalize(text, 0, {.clean_text = false, .split_chinese = false, .strip_accents = false, .lowercase = true}, chars);
    for (const tokenize::Char& c : chars) words.add(c.c);
  }
  std::vector<std::string> terms = words.finish();
  if (!options.english) return terms;
  for (std::string& term : terms) term = english_term(std::move(term));
  std::erase(terms, "");
  return terms;
}

}  // namespace m2bert::search
