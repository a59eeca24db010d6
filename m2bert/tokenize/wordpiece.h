#pragma once
// WordPiece, identical to Hugging Face's BertTokenizerFast: normalise, split at white space and punctuation, longest match first.
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

enum class TruncationSide { right, left };                         // the end that is truncated
enum class Truncation { longest_first, only_first, only_second };  // which text of a pair is truncated

struct EncodeOptions {
  size_t max_length = SIZE_MAX;  // in tokens, with [CLS] and [SEP]
  TruncationSide truncation_side = TruncationSide::right;
  Truncation truncation = Truncation::longest_first;
  bool add_special_tokens = true;  // [CLS] a [SEP], or [CLS] a [SEP] b [SEP]
  // Truncate the finished encoding on the right, as upstream's scripts do, so that a long text loses its [SEP].
  bool upstream_cut = false;
};

// Overrides the settings of the files. An empty field means the setting of the file or folder, or BERT's default.
struct LoadOptions {
  std::optional<bool> lowercase;      // BERT's default: true
  std::optional<bool> strip_accents;  // BERT's default: as lowercase
  std::optional<bool> split_chinese;  // BERT's default: true
};

// Truncation and padding from a tokenizer.json. encode() ignores them; the caller decides whether they apply.
struct FileSettings {
  std::optional<size_t> max_length;
  TruncationSide truncation_side = TruncationSide::right;
  Truncation truncation = Truncation::longest_first;
  bool pads = false;             // has a padding section
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
  // Throws if there is no such file or no vocabulary in the folder, for a setting that is not BERT's, and for duplicate or missing tokens.
  static WordPiece from_file(const std::filesystem::path& file_or_folder, const LoadOptions& options = {});

  // From the text of a vocab.txt; errors call it `name`.
  static WordPiece from_vocabulary(std::string_view lines, const std::string& name, const LoadOptions& options = {});

  // From the text of a tokenizer.json; errors call it `name`.
  static WordPiece from_json(std::string_view json, const std::string& name, const LoadOptions& options = {});

  // Throws if max_length leaves no room for the special tokens, or if the text has 4 GiB or more.
  Encoding encode(std::string_view text, const EncodeOptions& options = {}) const;
  Encoding encode_pair(std::string_view first, std::string_view second, const EncodeOptions& options = {}) const;

  // encode() of each text, in order, on `threads` threads.
  std::vector<Encoding> encode_batch(std::span<const std::string> texts, const EncodeOptions& options = {}, int threads = 1) const;
  // encode_pair() of each pair. Throws if there are not as many second texts as first ones.
  std::vector<Encoding> encode_pairs(std::span<const std::string> first, std::span<const std::string> second,
                                     const EncodeOptions& options = {}, int threads = 1) const;

  // The text of the tokens, joined as the tokenizers package does: "##" removed, no space before punctuation. Ids outside the
  // vocabulary are skipped.
  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens = true) const;

  int32_t id(std::string_view token) const;  // -1: not in the vocabulary
  std::string_view token(int32_t id) const;  // throws outside the vocabulary
  bool has(int32_t id) const;
  bool is_special(int32_t id) const;  // [CLS], [SEP], [PAD], ... : tokens that decode() may skip
  size_t vocab_size() const;          // largest id + 1

  // -1 if the vocabulary lacks the token; it always has [UNK], [CLS] and [SEP].
  int32_t pad_id() const;
  int32_t cls_id() const;
  int32_t sep_id() const;
  int32_t mask_id() const;
  int32_t unk_id() const;

  bool lowercase() const;
  bool strip_accents() const;
  const FileSettings& settings() const;

  // For loaders: from parts that were already read (model.h).
  explicit WordPiece(std::shared_ptr<const TokenizerModel> model);
  const TokenizerModel& model() const { return *model_; }

 private:
  std::shared_ptr<const TokenizerModel> model_;
};

}  // namespace m2bert::tokenize
