#include "m2bert/infer/classifier.h"

#include <algorithm>
#include <cmath>

#include "m2bert/error.h"
#include "m2bert/infer/inference_pass.h"

namespace m2bert::infer {
namespace {

// Without problem_type, one label is a value upstream, and in Transformers' pipeline the probability of that label.
ClassTask task_of(const models::Config& config) {
  if (!config.problem_type && config.num_labels == 1)
    return config.family == models::Family::hf_bert ? ClassTask::multi_label : ClassTask::regression;
  if (config.problem_type == "regression") return ClassTask::regression;
  return config.problem_type == "multi_label_classification" ? ClassTask::multi_label : ClassTask::single_label;
}

std::vector<std::string> labels_of(const models::Pretrained& pretrained) {
  std::vector<std::string> labels = pretrained.labels;
  for (size_t i = labels.size(); i < static_cast<size_t>(pretrained.config.num_labels); ++i) labels.push_back("LABEL_" + std::to_string(i));
  return labels;
}

mx::array scores_of(const mx::array& logits, ClassTask task) {
  mx::array wide = mx::astype(logits, mx::float32);
  if (task == ClassTask::regression) return wide;
  return task == ClassTask::multi_label ? mx::sigmoid(wide) : mx::softmax(wide, -1, true);
}

}  // namespace

Classifier::Classifier(models::Pretrained pretrained, const EmbedOptions& options)
    : pretrained_(std::move(pretrained)),
      batcher_(pretrained_.tokenizer, batch_options(pretrained_, options)),
      task_(task_of(pretrained_.config)),
      labels_(labels_of(pretrained_)) {
  require(pretrained_.model->head() == models::Head::classification,
          "this model has no classification head (classifier.weight); fine-tuned classification models have one");
}

// The graph of the logits of a batch.
mx::array Classifier::logits(const data::Batch& batch) const {
  auto pass = inference_pass(after_layer_);
  return mx::astype(pretrained_.model->class_logits(models::inputs_of(batch), pass), mx::float32);
}

Classifier::BatchScores Classifier::scores(const data::Batch& batch) const {
  const mx::array of_batch = logits(batch);
  return {models::to_floats(of_batch), models::to_floats(scores_of(of_batch, task_))};
}

PassQueue Classifier::pass_queue() const {
  return {[this](const Window&, const TextBatch& batch) { return scores_of(logits(batch), task_); }, launches_ahead(after_layer_)};
}

Classes Classifier::classify(const Window& window, uint64_t first, const std::function<bool()>& stop) const {
  PassQueue passes = pass_queue();
  passes.add(window);
  return read(window, passes, first, stop);
}

Classes Classifier::read(const Window& window, PassQueue& passes, uint64_t first, const std::function<bool()>& stop) const {
  const size_t width = labels_.size();
  Classes result{static_cast<int>(width), std::vector<float>(window.texts() * width), window.truncated};
  for (const TextBatch& batch : window.batches) {
    if (stop && stop()) return {};
    const std::vector<float> rows = passes.next();
    for (size_t row = 0; row < batch.texts.size(); ++row) {
      const std::span<const float> scores(rows.data() + row * width, width);
      require(std::all_of(scores.begin(), scores.end(), [](float s) { return std::isfinite(s); }), "text ", first + batch.texts[row] + 1,
              " gets scores that are not finite", why_not_finite(pretrained_));
      std::copy(scores.begin(), scores.end(), result.scores.begin() + static_cast<std::ptrdiff_t>(batch.texts[row] * width));
    }
  }
  return result;
}

namespace {

void append(Classes& all, const Classes& part) {
  all.scores.insert(all.scores.end(), part.scores.begin(), part.scores.end());
  all.truncated.insert(all.truncated.end(), part.truncated.begin(), part.truncated.end());
}

}  // namespace

Classes Classifier::operator()(std::span<const std::string> texts) const {
  Classes all{static_cast<int>(labels_.size()), {}, {}};
  batcher_.for_each_window(each_of(texts), [&](const Window& window, uint64_t first) { append(all, classify(window, first)); });
  return all;
}

Classes Classifier::operator()(std::span<const std::string> texts, std::span<const std::string> seconds) const {
  require(texts.size() == seconds.size(), "[Classifier] ", texts.size(), " texts, and ", seconds.size(), " second texts of pairs");
  Classes all{static_cast<int>(labels_.size()), {}, {}};
  size_t next = 0;
  const NextPair next_pair = [&](std::string& first, std::string& second) {
    if (next == texts.size()) return false;
    first = texts[next];
    second = seconds[next++];
    return true;
  };
  for (Window window = batcher_.next_pairs(next_pair); window.texts() > 0; window = batcher_.next_pairs(next_pair))
    append(all, classify(window, all.truncated.size()));
  return all;
}

}  // namespace m2bert::infer
