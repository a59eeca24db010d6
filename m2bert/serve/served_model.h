#pragma once
// A model behind its public name, and what requests may ask of it.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "m2bert/infer/classifier.h"
#include "m2bert/infer/embedder.h"
#include "m2bert/search/quantize.h"

namespace m2bert::serve {

enum class ModelTask { embed, classify };
const char* name(ModelTask task);

// What a model does for the requests, and why: "it has no classification head".
struct TaskChoice {
  ModelTask task = ModelTask::embed;
  std::string reason;
};

// It classifies if it has a classification head and names its labels; otherwise it embeds.
TaskChoice choose_task(const models::Pretrained& pretrained);

class ServedModel {
 public:
  // Error: the task does not fit the weights. options: for every request that does not say otherwise. pad is max or bucket; it is ignored
  // for models that mask their padding.
  ServedModel(std::string name, models::Pretrained pretrained, const TaskChoice& task, const infer::EmbedOptions& options);

  const std::string& name() const { return name_; }
  ModelTask task() const { return embedder_ ? ModelTask::embed : ModelTask::classify; }
  const std::string& task_reason() const { return task_reason_; }
  const models::Pretrained& pretrained() const { return embedder_ ? embedder_->pretrained() : classifier_->pretrained(); }
  const infer::BatchOptions& batching() const { return embedder_ ? embedder_->batcher().options() : classifier_->batcher().options(); }
  const tokenize::WordPiece& tokenizer() const { return pretrained().tokenizer; }
  int max_length() const { return batching().max_length; }
  // Whether padding changes no result, so that texts of different lengths may share a batch.
  bool masks_padding() const { return pretrained().dynamic_padding; }
  // "max_length", "bucket", or "masked" where padding changes no result.
  std::string padding_name(const std::optional<infer::PadMode>& asked = std::nullopt) const;
  std::string pooling_name() const;

  // Error: this model embeds, or classifies, and says which routes it has.
  infer::Embedder& embedder() const;
  infer::Classifier& classifier() const;
  // As infer::Embedder::set_after_layer.
  void set_after_layer(std::function<void()> after_layer) const;
  // Whether it scores a pair of texts by a single number: a reranker.
  bool is_reranker() const;

  // The ranges of int8 and uint8 vectors; empty: there are none, so these precisions are refused.
  const search::Ranges& ranges() const { return ranges_; }
  void set_ranges(search::Ranges ranges) { ranges_ = std::move(ranges); }

  // The length to which a text of so many tokens is padded. The same text always gets the same length.
  int padded_length(int tokens, const std::optional<infer::PadMode>& asked) const;

 private:
  std::string name_, task_reason_;
  std::unique_ptr<infer::Embedder> embedder_;
  std::unique_ptr<infer::Classifier> classifier_;
  search::Ranges ranges_;
};

}  // namespace m2bert::serve
