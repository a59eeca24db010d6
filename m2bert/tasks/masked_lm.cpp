#include "m2bert/tasks/masked_lm.h"

#include <algorithm>

#include "m2bert/error.h"
#include "m2bert/metrics/language.h"
#include "m2bert/nn/loss.h"
#include "m2bert/ops/padding.h"

namespace m2bert::tasks {

namespace {

// The rule which labels count. Upstream ignores label 0 too, the id of [PAD]; Hugging Face ignores -100 alone.
int32_t min_label(const models::Config& config) { return config.family == models::Family::hf_bert ? 0 : 1; }

// The predicted tokens of a batch: only these go through the decoder.
struct Predictions {
  mx::array logits;  // [n, vocab]
  mx::array labels;  // [n] int32
};

// rows: where the labels are that count.
Predictions predict(const models::Model& model, const models::Inputs& inputs, const mx::array& labels, const ops::Unpadding& rows,
                    nn::Pass& pass) {
  const auto hidden = model.hidden_states(inputs, pass);
  const auto logits = model.masked_lm_logits(ops::unpad_input(hidden, rows), pass);
  return {logits, mx::take(mx::reshape(mx::astype(labels, mx::int32), {-1}), rows.indices, 0)};
}

// Of rows of a batch. The labels are read on the host, so that the device need not be waited for.
Predictions predict(const models::Model& model, const data::Batch& batch, int first, int rows, nn::Pass& pass) {
  const auto labels = models::labels_of(batch, first, rows);
  const auto* begin = batch.labels.data() + size_t(first) * size_t(batch.length);
  std::vector<uint8_t> counted(labels.size());
  std::transform(begin, begin + counted.size(), counted.begin(), [min = min_label(model.config())](int32_t label) { return label >= min; });
  return predict(model, models::inputs_of(batch, first, rows), labels, ops::unpadding(counted, rows, batch.length), pass);
}

// The entries of MetricSums::counts.
enum Count : size_t { predicted, correct };

metrics::LanguageCrossEntropy cross_entropy_of(const MetricSums& sums) {
  metrics::LanguageCrossEntropy cross_entropy;
  cross_entropy.add(sums.values[0], sums.counts[predicted]);
  return cross_entropy;
}

}  // namespace

mx::array masked_lm_loss(const models::Model& model, const models::Inputs& inputs, const mx::array& labels, nn::Pass& pass) {
  require(labels.shape() == inputs.input_ids.shape(), "[masked_lm] labels have shape ", labels.shape(), ", input_ids ",
          inputs.input_ids.shape());
  const auto counted = mx::greater_equal(labels, mx::array(min_label(model.config()), labels.dtype()));
  const auto predictions = predict(model, inputs, labels, ops::unpadding(counted), pass);
  return nn::cross_entropy(predictions.logits, predictions.labels);
}

mx::array MaskedLM::loss(const models::Model& model, const data::Batch& batch, int first, int rows, nn::Pass& pass) const {
  const auto predictions = predict(model, batch, first, rows, pass);
  return nn::cross_entropy(predictions.logits, predictions.labels);
}

int64_t MaskedLM::weight(const data::Batch& batch, int first, int rows) const {
  require(first + rows <= batch.rows && batch.labels.size() == size_t(batch.rows) * size_t(batch.length), "[masked_lm] the batch has ",
          batch.labels.size(), " labels, wants ", batch.rows, " x ", batch.length);
  const auto* begin = batch.labels.data() + size_t(first) * size_t(batch.length);
  return std::count_if(begin, begin + size_t(rows) * size_t(batch.length),
                       [min = min_label(config_)](int32_t label) { return label >= min; });
}

std::vector<Metric> MaskedLM::train_metrics(double loss) const {
  return {{"LanguageCrossEntropy", loss}, {"Perplexity", metrics::perplexity(loss)}};
}

std::vector<Metric> MaskedLM::eval_metrics(const MetricSums& sums) const {
  const double cross_entropy = cross_entropy_of(sums).value();
  metrics::MaskedAccuracy accuracy;
  accuracy.add(sums.counts[correct], sums.counts[predicted]);
  return {
      {"LanguageCrossEntropy", cross_entropy}, {"MaskedAccuracy", accuracy.value()}, {"Perplexity", metrics::perplexity(cross_entropy)}};
}

MetricSums MaskedLM::zero_sums() const { return {{0, 0}, {0}, {}}; }

void MaskedLM::add_sums(MetricSums& sums, const models::Model& model, const data::Batch& batch, int first, int rows) const {
  const int64_t count = weight(batch, first, rows);
  if (count == 0) return;
  nn::Pass pass;
  const auto predictions = predict(model, batch, first, rows, pass);
  const auto logits = mx::astype(predictions.logits, mx::float32);
  const auto labels = mx::expand_dims(predictions.labels, -1);
  auto loss = mx::sum(mx::expand_dims(mx::logsumexp(logits, -1), -1) - mx::take_along_axis(logits, labels, -1));
  auto hits = mx::sum(mx::equal(mx::astype(mx::argmax(logits, -1, true), mx::int32), labels));
  mx::eval({loss, hits});
  sums.values[0] += loss.item<float>();
  sums.counts[predicted] += count;
  sums.counts[correct] += hits.item<int32_t>();
}

double MaskedLM::head_flops(int64_t predicted) const {
  const double h = config_.hidden_size, per_token = 2 * h * (h + config_.vocab_size);
  return double(predicted) * per_token;
}

data::Batch MaskedLM::dummy_batch(int rows, int length) const {
  data::Batch batch;
  batch.rows = rows;
  batch.length = length;
  const auto size = size_t(rows) * size_t(length);
  for (size_t i = 0; i < size; ++i) {
    batch.input_ids.push_back(int32_t(i * 7919 % size_t(config_.vocab_size)));
    batch.labels.push_back(i % 3 == 0 ? std::max(batch.input_ids.back(), 1) : -100);
  }
  batch.attention_mask.assign(size, 1);
  return batch;
}

}  // namespace m2bert::tasks
