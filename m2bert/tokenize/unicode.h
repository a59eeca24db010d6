#pragma once
// UTF-8, and the properties of code points that Hugging Face's BERT normaliser and pre-tokenizer use.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace m2bert::tokenize {

constexpr char32_t replacement_char = 0xFFFD;

enum CharFlag : uint16_t {
  char_removed = 1,      // control, format, unassigned ...: clean_text drops it
  char_space = 2,        // white space
  char_punctuation = 4,  // a word of its own
  char_chinese = 8,      // gets spaces around it
  char_nonspacing = 16,  // Mn: dropped with accents
  char_decomposes = 32,  // has a canonical decomposition
  char_lowers = 64,      // has another lower case form
  char_combines = 128,   // combining class other than 0
  char_word = 256,       // \w
};

struct Decoded {
  char32_t c;
  uint32_t size;  // bytes read, at least 1
};

// The first code point of a text that is not empty; U+FFFD and the size of the maximal subpart for an ill-formed sequence.
Decoded decode_utf8(const char* text, const char* end);

// A Unicode scalar value as UTF-8 at `out`, which has room for 4 bytes; returns the bytes written.
uint32_t encode_utf8(char32_t c, char* out);

// The code point that ends at `end`; replacement_char with size 0 if there is none or it is ill-formed.
Decoded last_utf8(const char* text, const char* end);

namespace tables {
struct Decomposition {
  char32_t from, to[4];
};  // full canonical decomposition, 0 at the end
struct Lower {
  char32_t from, to[2];
};
struct CombiningClass {
  char32_t from;
  uint8_t rank;
};  // in the order of the classes, not their numbers
extern const uint16_t block_of[];
extern const uint16_t block_flags[][128];
extern const Decomposition decompositions[];  // sorted, without Hangul
extern const size_t decomposition_count;
extern const Lower lowers[];
extern const size_t lower_count;
extern const CombiningClass combining_classes[];
extern const size_t combining_class_count;
}  // namespace tables

// CharFlag bits of a code point below 0x110000.
inline uint16_t flags_of(char32_t c) { return tables::block_flags[tables::block_of[c >> 7]][c & 127]; }

// The full canonical decomposition; returns its length, 1 (the code point itself) to 4.
size_t decompose(char32_t c, char32_t out[4]);

// The lower case form; returns its length, 1 or 2.
size_t lower(char32_t c, char32_t out[2]);

// 0 for a starter; marks are sorted by rank.
uint8_t combining_rank(char32_t c);

}  // namespace m2bert::tokenize
