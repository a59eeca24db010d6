#pragma once
// Texts to padded batches of token ids. What lands in which batch depends on the texts and the options alone, never on time or threads.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "m2bert/tokenize/wordpiece.h"

namespace m2bert::infer {

// The length a text is padded to.
enum class PadMode {
  max,      // the maximum length, always
  longest,  // the longest text of its batch
  bucket,   // the next power of two, or the middle between two of them
};

struct BatchOptions {
  PadMode pad = PadMode::max;
  int max_length = 512;  // tokens, with [CLS] and [SEP]
  int batch_size = 32;   // texts a batch
  // Whether batches may gather texts of like length. False where pad tokens change the result (M2) and the batch's longest text counts.
  bool sort = true;
  tokenize::TruncationSide truncation_side = tokenize::TruncationSide::right;
  bool reference_cut = false;  // cut the finished encoding, so that a long text loses its [SEP]
  std::string prompt;          // put in front of each text
};

// One input of a model: rows of the same length.
struct Batch {
  int length = 0;                            // tokens a row
  std::vector<int32_t> ids, type_ids, mask;  // [rows, length]; mask: 1 a token, 0 padding
  std::vector<uint32_t> texts;               // [rows]: which text of the window a row is

  int rows() const { return static_cast<int>(texts.size()); }
};

// A run of consecutive texts, cut into batches. Windows are the units that streams work in.
struct Window {
  std::vector<Batch> batches;
  std::vector<int32_t> tokens;     // [texts]: tokens that the model sees, without padding
  std::vector<uint8_t> truncated;  // [texts]: 1 if the text was cut to the maximum length

  size_t texts() const { return tokens.size(); }
};

// The padded length of a text under PadMode::bucket: 8, 12, 16, 24, 32, 48, ... up to max_length.
int bucket_length(int tokens, int max_length);

// Reads the next text; false: there is none.
using NextText = std::function<bool(std::string& text)>;

// Tokenizes and batches. Immutable, and safe to use from any thread.
class Batcher {
 public:
  // Error: batch_size or max_length below 1, or max_length without room for a token beside [CLS] and [SEP].
  Batcher(tokenize::WordPiece tokenizer, BatchOptions options);

  // Reads texts until a window is full. With PadMode::max a window is one batch; otherwise up to 16 batches or about 32,768 tokens, so
  // that texts of like length meet. An empty window: the texts are at their end.
  Window next(const NextText& next_text) const;

  const BatchOptions& options() const { return options_; }
  const tokenize::WordPiece& tokenizer() const { return tokenizer_; }

 private:
  std::vector<std::string> read(const NextText& next_text) const;
  bool full(size_t texts, size_t tokens) const;
  Window window_of(const std::vector<tokenize::Encoding>& encodings) const;
  Batch batch_of(const std::vector<tokenize::Encoding>& encodings, std::span<const uint32_t> texts) const;
  int padded_length(int tokens) const;

  tokenize::WordPiece tokenizer_;
  BatchOptions options_;
};

// Yields the texts of a span one after another; the span must outlive it.
NextText each_of(std::span<const std::string> texts);

}  // namespace m2bert::infer
