#pragma once
// Texts to labels, with the classification head.
#include <string>
#include <vector>

#include "m2bert/infer/embedder.h"

namespace m2bert::infer {

// How the logits of the head become scores.
enum class ClassTask {
  single_label,  // one of the labels: softmax
  multi_label,   // any of the labels: a sigmoid for each
  regression,    // the logits themselves
};

struct Classes {
  int labels = 0;
  std::vector<float> scores;       // [n, labels]: probabilities, or values for regression
  std::vector<uint8_t> truncated;  // [n]
};

class Classifier {
 public:
  // Uses the batching of the options. Error: the model has no classification head.
  Classifier(models::Pretrained pretrained, const EmbedOptions& options);

  Classes operator()(std::span<const std::string> texts) const;
  // The scores of pairs, as of a cross-encoder: texts [n] with seconds [n]. Error if their numbers differ.
  Classes operator()(std::span<const std::string> texts, std::span<const std::string> seconds) const;
  // The scores of a window's texts. first: the number of texts before it, for errors.
  // stop is called before each batch: true aborts and returns an empty result.
  Classes classify(const Window& window, uint64_t first, const std::function<bool()>& stop = {}) const;
  // The same of windows in a queue, as with Embedder.
  PassQueue pass_queue() const;
  Classes read(const Window& window, PassQueue& passes, uint64_t first, const std::function<bool()>& stop = {}) const;
  // The logits [rows, labels] of one batch, and the scores. Call it from the thread that owns MLX.
  struct BatchScores {
    std::vector<float> logits, scores;
  };
  BatchScores scores(const data::Batch& batch) const;

  // As Embedder::set_after_layer.
  void set_after_layer(std::function<void()> after_layer) { after_layer_ = std::move(after_layer); }

  ClassTask task() const { return task_; }
  // The names of the labels; LABEL_0, LABEL_1, ... if the model has none.
  const std::vector<std::string>& labels() const { return labels_; }
  const Batcher& batcher() const { return batcher_; }
  const models::Pretrained& pretrained() const { return pretrained_; }

 private:
  mx::array logits(const data::Batch& batch) const;

  models::Pretrained pretrained_;
  Batcher batcher_;
  ClassTask task_;
  std::vector<std::string> labels_;
  std::function<void()> after_layer_;
};

}  // namespace m2bert::infer
