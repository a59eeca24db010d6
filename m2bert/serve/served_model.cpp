#include "m2bert/serve/served_model.h"

#include "m2bert/error.h"

namespace m2bert::serve {

const char* name(ModelTask task) { return task == ModelTask::embed ? "embed" : "classify"; }

TaskChoice choose_task(const models::Pretrained& pretrained) {
  if (pretrained.model->head() != models::Head::classification) return {ModelTask::embed, "it has no classification head"};
  if (pretrained.labels.empty()) return {ModelTask::embed, "its classification head names no labels"};
  return {ModelTask::classify, "it has a classification head with named labels; --task embed gives its vectors"};
}

ServedModel::ServedModel(std::string name, models::Pretrained pretrained, const TaskChoice& task, const infer::EmbedOptions& options)
    : name_(std::move(name)), task_reason_(task.reason) {
  if (task.task == ModelTask::embed) embedder_ = std::make_unique<infer::Embedder>(std::move(pretrained), options);
  else classifier_ = std::make_unique<infer::Classifier>(std::move(pretrained), options);
}

std::string ServedModel::padding_name(const std::optional<infer::PadMode>& asked) const {
  if (masks_padding()) return "masked";
  switch (asked.value_or(batching().pad)) {
    case infer::PadMode::max: return "max_length";
    case infer::PadMode::bucket: return "bucket";
    case infer::PadMode::longest: return "do_not_pad";
  }
  return "";
}

std::string ServedModel::pooling_name() const { return embedder_ ? models::name(embedder_->pooling()) : "classifier"; }

infer::Embedder& ServedModel::embedder() const {
  require(embedder_ != nullptr, "the model ", name_,
          " classifies texts and gives no vectors: use /predict or /classify, or serve it with --task embed");
  return *embedder_;
}

infer::Classifier& ServedModel::classifier() const {
  require(classifier_ != nullptr, "the model ", name_, " gives vectors and does not classify: use /embed or /v1/embeddings");
  return *classifier_;
}

void ServedModel::set_after_layer(std::function<void()> after_layer) const {
  if (embedder_) embedder_->set_after_layer(std::move(after_layer));
  else classifier_->set_after_layer(std::move(after_layer));
}

bool ServedModel::is_reranker() const { return classifier_ && classifier_->labels().size() == 1; }

int ServedModel::padded_length(int tokens, const std::optional<infer::PadMode>& asked) const {
  if (masks_padding()) return infer::bucket_length(tokens, max_length());
  switch (asked.value_or(batching().pad)) {
    case infer::PadMode::max: return max_length();
    case infer::PadMode::bucket: return infer::bucket_length(tokens, max_length());
    case infer::PadMode::longest: return tokens;
  }
  return tokens;
}

}  // namespace m2bert::serve
