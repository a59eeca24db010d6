#pragma once
// Predictions for [MASK] tokens, with the masked-LM head.
#include <string>
#include <vector>

#include "m2bert/infer/embedder.h"

namespace m2bert::infer {

struct Guess {
  int32_t id = 0;
  std::string token;
  float probability = 0;
};

// The predictions for one [MASK].
struct FilledMask {
  int position = 0;            // in tokens; [CLS] is 0
  std::vector<Guess> guesses;  // best first
};

class FillMask {
 public:
  // Error: the model has no masked-LM head, or its vocabulary has no [MASK].
  FillMask(models::Pretrained pretrained, const EmbedOptions& options);

  // The masks of every text, in order; none for a text without [MASK] within the maximum length.
  std::vector<std::vector<FilledMask>> operator()(std::span<const std::string> texts, int top_k) const;
  // Those of a window's texts. first: the number of texts before it, for errors.
  // stop is called before each batch: true aborts and returns an empty result.
  std::vector<std::vector<FilledMask>> fill(const Window& window, uint64_t first, int top_k, const std::function<bool()>& stop = {}) const;

  const Batcher& batcher() const { return batcher_; }
  const models::Pretrained& pretrained() const { return pretrained_; }

 private:
  std::vector<FilledMask> fill(const mx::array& logits_of_masks, std::span<const int> positions, uint64_t text, int top_k) const;

  models::Pretrained pretrained_;
  Batcher batcher_;
};

}  // namespace m2bert::infer
