#pragma once
// The data of a WordPiece tokenizer, as read from its files. Internal to the folder.
#include "m2bert/tokenize/added_tokens.h"
#include "m2bert/tokenize/normalizer.h"
#include "m2bert/tokenize/vocabulary.h"
#include "m2bert/tokenize/wordpiece.h"

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace m2bert::tokenize {

// How a byte of the text is treated on the fast path.
enum class ByteClass : uint8_t { word, space, punctuation, slow };

// What a loader collects.
struct ModelParts {
  std::string name;                   // the file, for errors
  std::shared_ptr<const void> owner;  // of the tokens' text
  std::vector<std::pair<std::string_view, int32_t>> vocabulary;
  NormalizerOptions normalizer;
  bool lowercase_first = false;   // a Lowercase before BERT's normalizer
  std::vector<AddedToken> added;  // id -1: look it up in the vocabulary; a token without an id is ignored
  std::string unk = "[UNK]", cls = "[CLS]", sep = "[SEP]", pad = "[PAD]", mask = "[MASK]";
  std::string prefix = "##";                         // of a token that continues a word
  std::optional<std::string> decoder_prefix = "##";  // what decode() removes; nullopt: tokens are joined with spaces
  size_t max_word_chars = 100;
  bool cleanup = true;                // decode() removes spaces before punctuation
  bool has_template = true;           // [CLS] and [SEP] are added
  bool split_special_tokens = false;  // special tokens in a text are split like other words
  FileSettings settings;
};

struct TokenizerModel {
  explicit TokenizerModel(ModelParts parts);

  std::string name;
  Vocabulary vocabulary;
  NormalizerOptions normalizer;
  AddedTokens raw_added, normalized_added;
  std::vector<AddedToken> beyond;  // added tokens that the vocabulary lacks, by their ids
  std::vector<bool> special;       // by id
  int32_t unk, cls, sep, pad, mask;
  std::optional<std::string> decoder_prefix;
  size_t max_word_chars;
  bool cleanup, has_template;
  FileSettings settings;

  Vocabulary::Node continuation;  // the node of the prefix; dead: no token continues a word
  std::array<ByteClass, 256> byte_class;
  std::array<uint8_t, 256> fold;  // lower case of ASCII
  std::array<int32_t, 128> punctuation_id;

 private:
  void fill_byte_tables();
  void fill_added(std::vector<AddedToken> tokens, bool split_special_tokens);
};

}  // namespace m2bert::tokenize
