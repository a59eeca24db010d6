#pragma once
// The states of tokens as vectors: one for each token, or for each passage of a document the mean over its tokens.
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "m2bert/infer/embedder.h"

namespace m2bert::infer {

// A part of a text in characters, which are Unicode code points, as Python counts them.
struct Span {
  uint64_t begin = 0, end = 0;
  bool operator==(const Span&) const = default;
};

// A vector for each token of each text of a window, with [CLS] and [SEP]: sentence-transformers' output_value="token_embeddings". They are
// the last hidden states, without modules, normalisation or truncation of the vectors.
struct TokenVectors {
  int dim = 0;                  // the model's hidden size
  std::vector<float> vectors;   // [tokens of all texts, dim]
  std::vector<uint32_t> texts;  // [tokens], the index of the token's text in the window
  std::vector<int32_t> ids;     // [tokens]
  std::vector<Span> spans;      // [tokens], of the text without the prompt; empty for [CLS], [SEP] and the prompt
};

// The embedder needs EmbedOptions::offsets. texts: those of the window, without prompts. first: the number of texts before it, for errors.
// stop: true aborts and returns an empty result. Error names the text whose vectors are not finite.
TokenVectors token_vectors(const Embedder& embedder, const Window& window, std::span<const std::string> texts, uint64_t first,
                           const std::function<bool()>& stop = {});

// How documents are divided into passages.
struct ChunkOptions {
  int tokens = 0;          // a passage is so many tokens, or with `sentences` as many whole sentences as fit; 0: no limit
  int overlap = 0;         // tokens that a passage shares with the one before it; not with `sentences`
  bool sentences = false;  // passages end where sentences do
};

// The sentences of a text. A sentence ends with one or more of . ! ? and the ellipsis, with the quotes and brackets that close behind them,
// before white space; with the full stop, exclamation or question mark of Chinese and Japanese; and with an empty line. Abbreviations are
// not known: "Dr. Who" is two. White space around a sentence is not part of it.
std::vector<Span> sentences_of(const std::string& text);

// The passages of a text whose encoding has offsets (see Window::encodings). prompt: bytes of the prompt in front of it. An empty text has
// none. Error: neither tokens nor sentences, or an overlap that leaves no room for new tokens.
std::vector<Span> passages_of(const std::string& text, const tokenize::Encoding& encoding, size_t prompt, const ChunkOptions& options);

// The vectors of passages from one pass over each document ("late chunking", Günther et al. 2024, arXiv:2409.04701): the mean of the states
// of the tokens that overlap the passage, then modules and normalisation as for any vector. [CLS] and the prompt belong to a passage that
// has the first token of the document, [SEP] to one that has the last, so the passage that is the whole document has the vector of embed().
struct PassageVectors {
  int dim = 0;
  std::vector<float> vectors;   // [passages, dim]
  std::vector<uint32_t> texts;  // [passages], the index of the passage's document in the window, ascending
  std::vector<Span> spans;      // [passages]
};

// The passages of a text: its index in the window -> its passages in order.
using PassagesOf = std::function<std::vector<Span>(uint32_t text)>;

// The embedder needs EmbedOptions::offsets, and its pooling must be the mean. Documents above the maximum length need
// EmbedOptions::overlap: they are read in overlapping rows. texts, first, stop: as above. Error names the text and the passage: it is not
// inside the text, or no token is in it.
PassageVectors late_chunks(const Embedder& embedder, const Window& window, std::span<const std::string> texts,
                           const PassagesOf& passages_of, uint64_t first, const std::function<bool()>& stop = {});

// The passages of whole texts, window by window, with passages_of() for each.
PassageVectors late_chunks(const Embedder& embedder, std::span<const std::string> texts, const ChunkOptions& options);

// Error if late chunking is not defined for the embedder's pooling; says what to do.
void require_mean_pooling(const Embedder& embedder);

}  // namespace m2bert::infer
