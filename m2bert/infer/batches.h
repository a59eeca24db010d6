#pragma once
// Texts to padded batches of token ids. Which text is in which batch depends on the texts and the options alone, not on time or threads.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "m2bert/data/batch.h"
#include "m2bert/tokenize/wordpiece.h"

namespace m2bert::infer {

// The length to which a text is padded.
enum class PadMode {
  max,      // the maximum length, always
  longest,  // the longest text of its batch
  bucket,   // the next power of two, or midpoint between two of them
};

struct BatchOptions {
  PadMode pad = PadMode::max;
  int max_length = 512;  // tokens, with [CLS] and [SEP]
  int batch_size = 32;   // texts a batch
  // Whether batches may gather texts of similar length. False where padding changes the result (M2) and depends on the longest text.
  bool sort = true;
  tokenize::TruncationSide truncation_side = tokenize::TruncationSide::right;
  bool upstream_cut = false;  // truncate the finished encoding, as upstream does, so that a long text loses its [SEP]
  std::string prompt;         // put in front of each text
  bool offsets = false;       // windows have the encodings of their texts, for what needs to know which token is where
  // Long texts become several rows of max_length tokens that share so many tokens with their neighbours; needs `offsets`. Absent: they are
  // truncated.
  std::optional<int> overlap;
};

// The tokens of a row in the encoding of its text: position p of the row is token shift + p. Where rows overlap, each token is of one of
// them: [begin, end) are those of this row.
struct RowTokens {
  uint32_t shift = 0, begin = 0, end = 0;
  bool operator==(const RowTokens&) const = default;
};

// A batch of texts.
struct TextBatch : data::Batch {
  std::vector<uint32_t> texts;    // [rows], the index of each row's text in the window
  std::vector<RowTokens> tokens;  // [rows]
};

// Consecutive texts, divided into batches. Streams are processed window by window.
struct Window {
  std::vector<TextBatch> batches;
  std::vector<int32_t> tokens;     // [texts], tokens that the model sees, without padding
  std::vector<uint8_t> truncated;  // [texts], 1 if the text was truncated to the maximum length
  int prompt_tokens = 0;           // positions at the beginning of each text that [CLS] and the prompt take; 0: no prompt
  size_t prompt_bytes = 0;         // of the prompt
  // [texts] with BatchOptions::offsets, otherwise empty. Offsets count in bytes of the prompt and the text. Whole where rows overlap.
  std::vector<tokenize::Encoding> encodings;

  size_t texts() const { return tokens.size(); }
};

// The padded length of a text under PadMode::bucket: 8, 12, 16, 24, 32, 48, ... up to max_length.
int bucket_length(int tokens, int max_length);

// Reads the next text, or the next pair of texts; false at the end.
using NextText = std::function<bool(std::string& text)>;
using NextPair = std::function<bool(std::string& first, std::string& second)>;

// Tokenizes texts and batches them. Immutable and thread-safe.
class Batcher {
 public:
  // Error: batch_size is below 1, max_length leaves no room for a token between [CLS] and [SEP], or overlap leaves no room for new ones.
  Batcher(tokenize::WordPiece tokenizer, BatchOptions options);

  // Reads texts until a window is full: with PadMode::max one batch, otherwise up to 16 batches or about 32,768 tokens, so that texts of
  // similar length meet. The window is empty at the end of the texts.
  Window next(const NextText& next_text) const;
  // Reads the texts of a window and drops them. Returns their number. With PadMode::max it does not tokenize.
  size_t skip(const NextText& next_text) const;
  // The same as next() for pairs: [CLS] first [SEP] second [SEP], truncated longest first, as Transformers does. Error with a prompt or
  // overlap.
  Window next_pairs(const NextPair& next_pair) const;
  // Calls `use` with each window up to the end of the texts, and the number of texts before it. Returns the number of texts.
  uint64_t for_each_window(const NextText& next_text, const std::function<void(const Window& window, uint64_t first)>& use) const;

  // The same batches with another prompt.
  Batcher with_prompt(std::string prompt) const;

  const BatchOptions& options() const { return options_; }
  const tokenize::WordPiece& tokenizer() const { return tokenizer_; }

 private:
  tokenize::EncodeOptions encode_options() const;
  int count_prompt_tokens() const;
  struct Row;
  using Encodings = std::vector<tokenize::Encoding>;
  Encodings read_texts(const NextText& next_text) const;
  Encodings read_pairs(const NextPair& next_pair) const;
  Encodings read_window(const std::function<Encodings()>& read) const;
  bool one_batch_a_window() const;
  bool full(size_t texts, size_t tokens) const;
  Window window_of(Encodings encodings) const;
  std::vector<Row> rows_of(const Encodings& encodings) const;
  TextBatch batch_of(std::span<const Row> rows) const;
  int padded_length(int tokens) const;

  tokenize::WordPiece tokenizer_;
  BatchOptions options_;
  int prompt_tokens_ = 0;
};

// Reads the texts of a span in order; the span must outlive it.
NextText each_of(std::span<const std::string> texts);

}  // namespace m2bert::infer
