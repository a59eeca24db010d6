#pragma once
// WordPiece, equal to Hugging Face's BertTokenizerFast: normalise, split at white space and punctuation, longest match first.
#include "m2bert/tokenize/encoding.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace m2bert::tokenize {

struct TokenizerModel;

enum class TruncationSide { right, left };                         // the end of the text that is cut off
enum class Truncation { longest_first, only_first, only_second };  // which text of a pair is cut

struct EncodeOptions {
  size_t max_length = SIZE_MAX;  // in tokens, with [CLS] and [SEP]
  TruncationSide truncation_side = TruncationSide::right;
  Truncation truncation = Truncation::longest_first;
  bool add_special_tokens = true;  // [CLS] a [SEP], or [CLS] a [SEP] b [SEP]
  // The reference's scripts cut the finished encoding to max_length on its right side, so a long text has no [SEP].
  bool reference_cut = false;
};

// Overrides what the files say. An empty field takes the file's or the folder's setting, or BERT's default.
struct LoadOptions {
  std::optional<bool> lowercase;      // BERT's default: true
  std::optional<bool> strip_accents;  // BERT's default: as lowercase
  std::optional<bool> split_chinese;  // BERT's default: true
};

// Truncation and padding that a tokenizer.json asks for. encode() takes its options alone: the caller decides whether these apply.
struct FileSettings {
  std::optional<size_t> max_length;
  TruncationSide truncation_side = TruncationSide::right;
  Truncation truncation = Truncation::longest_first;
  bool pads = false;             // a padding section is there
  std::optional<size_t> pad_to;  // a fixed length; empty: the longest of the batch
  std::optional<size_t> pad_to_multiple_of;
  PaddingSide padding_side = PaddingSide::right;
  std::optional<size_t> model_max_length;  // tokenizer_config.json
};

// Text to ids and back. Immutable and safe to share between threads; a copy shares the vocabulary.
// Text is UTF-8. Each ill-formed sequence (maximal subpart, as Python's errors="replace") counts as U+FFFD, which the normaliser removes.
class WordPiece {
 public:
  // bert-base-uncased: 30,522 tokens, lower case, accents stripped.
  static WordPiece builtin();

  // From vocab.txt (one token a line), tokenizer.json, or a model folder that holds one of them (tokenizer_config.json is read too).
  // Error: no such file, no vocabulary in the folder, a setting that is not BERT's, a duplicate or missing token.
  static WordPiece from_file(const std::filesystem::path& file_or_folder, const LoadOptions& options = {});

  // From the text of a vocab.txt; `name` stands for the file in errors.
  static WordPiece from_vocabulary(std::string_view lines, const std::string& name, const LoadOptions& options = {});

  // From the text of a tokenizer.json; `name` stands for the file in errors.
  static WordPiece from_json(std::string_view json, const std::string& name, const LoadOptions& options = {});

  // Error: max_length leaves no room for the special tokens, or the text has 4 GiB or more.
  Encoding encode(std::string_view text, const EncodeOptions& options = {}) const;
  Encoding encode_pair(std::string_view first, std::string_view second, const EncodeOptions& options = {}) const;

  // encode() of each text, in order, on `threads` threads.
  std::vector<Encoding> encode_batch(std::span<const std::string> texts, const EncodeOptions& options = {}, int threads = 1) const;

  // The text of the tokens, joined as the tokenizers package does: "##" removed, no space before punctuation. Ids outside the
  // vocabulary are left out.
  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens = true) const;

  int32_t id(std::string_view token) const;  // -1: not in the vocabulary
  std::string_view token(int32_t id) const;  // Error: outside the vocabulary
  bool has(int32_t id) const;
  bool is_special(int32_t id) const;  // [CLS], [SEP], [PAD], ... : tokens that decode() may skip
  size_t vocab_size() const;          // largest id + 1

  // -1 where the vocabulary has no such token; [UNK], [CLS] and [SEP] are always there.
  int32_t pad_id() const;
  int32_t cls_id() const;
  int32_t sep_id() const;
  int32_t mask_id() const;
  int32_t unk_id() const;

  bool lowercase() const;
  const FileSettings& settings() const;

  // For loaders: from parts that were read already (model.h).
  explicit WordPiece(std::shared_ptr<const TokenizerModel> model);
  const TokenizerModel& model() const { return *model_; }

 private:
  std::shared_ptr<const TokenizerModel> model_;
};

}  // namespace m2bert::tokenize
