#pragma once
// Texts to vectors through a cache on disk, so that a broken evaluation computes only what is missing.
//
// The texts are divided into blocks, whose sizes depend on the texts and the batching alone. A block's vectors are one file, named after
// the hash of its texts, in a folder named after the hash of the settings. It appears complete or not at all, so a run may be killed at any
// moment, and several may share a cache. Each block is batched on its own: whether its vectors come from the cache or not, the numbers are
// the same.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "m2bert/infer/embedder.h"
#include "m2bert/io/tree.h"

namespace m2bert::eval {

// The vectors of consecutive texts.
struct VectorBlock {
  size_t rows = 0;
  std::vector<float> vectors;          // [rows, dim]
  uint64_t tokens = 0, truncated = 0;  // tokens without padding; texts that were truncated
};

// How many texts a block takes.
class BlockSize {
 public:
  explicit BlockSize(const infer::BatchOptions& options);
  // Adds a text; true if the block is then full.
  bool add(std::string_view text);

 private:
  size_t batch_size_, max_length_, texts_ = 0, tokens_ = 0;
  bool padded_;
};

class CachedEmbedder {
 public:
  // settings: everything that a vector depends on beside its text and the prompt. cache: the folder, which is made; empty: nothing is kept.
  // The embedder must outlive this.
  CachedEmbedder(const infer::Embedder& embedder, io::Tree settings, std::filesystem::path cache = {});

  // Embeds the texts behind a prompt (the text itself, see infer::prompt_text), and calls `use` with each block in order. next_text is
  // called from another thread, and must own what it reads from. Error: what the embedder and next_text throw; "stopped by ..." after a
  // signal; a cache that cannot be written.
  void for_each_block(const infer::NextText& next_text, const std::string& prompt,
                      const std::function<void(const VectorBlock&)>& use) const;

  // The vectors of all texts. progress is called after each block.
  VectorBlock operator()(std::span<const std::string> texts, const std::string& prompt,
                         const std::function<void(uint64_t texts_done)>& progress = {}) const;

  size_t dim() const { return static_cast<size_t>(embedder_.dim()); }
  const infer::Embedder& embedder() const { return embedder_; }
  const io::Tree& settings() const { return settings_; }

 private:
  struct ReadBlock;
  class Reader;
  std::filesystem::path folder_of(const std::string& prompt) const;
  VectorBlock compute(const ReadBlock& block, uint64_t first) const;

  const infer::Embedder& embedder_;
  io::Tree settings_;
  std::filesystem::path cache_;
};

}  // namespace m2bert::eval
