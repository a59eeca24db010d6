#include "m2bert/train/evaluation.h"

#include <algorithm>

#include "m2bert/io/interrupt.h"
#include "m2bert/models/pretrained.h"
#include "m2bert/ops/padding.h"
#include "m2bert/train/step.h"

namespace m2bert::train {

namespace {

// The model's weights in another dtype for a while.
class Cast {
 public:
  Cast(models::Model& model, mx::Dtype dtype) : arrays_(nn::named_arrays(model)) {
    for (const auto& a : arrays_) before_.push_back(*a.array);
    if (dtype != mx::float32) models::cast_weights(model, dtype);
  }
  ~Cast() {
    for (size_t i = 0; i < arrays_.size(); ++i) *arrays_[i].array = before_[i];
  }
  Cast(const Cast&) = delete;
  Cast& operator=(const Cast&) = delete;

 private:
  std::vector<nn::NamedArray> arrays_;
  nn::Arrays before_;
};

Evaluation sum_of(const Evaluation& mine, const Processes& processes) {
  if (processes.size() == 1) return mine;
  const auto counts = processes.sum_counts({mine.cross_entropy.tokens(), mine.accuracy.right(), mine.samples});
  Evaluation all;
  all.cross_entropy.add(processes.sum_value(mine.cross_entropy.sum()), counts[0]);
  all.accuracy.add(counts[1], counts[0]);
  all.samples = counts[2];
  return all;
}

}  // namespace

void add_batch(Evaluation& evaluation, const models::Model& model, const data::TrainBatch& batch, int first, int rows) {
  evaluation.samples += rows;
  const int64_t predicted = count_predicted(model.config(), batch, first, rows);
  if (predicted == 0) return;
  const auto input = model_input(batch, first, rows);
  const auto labels = label_array(batch, first, rows);
  const auto least = mx::array(model.config().family == models::Family::hf_bert ? 0 : 1);
  const auto picked = ops::unpadding(mx::greater_equal(labels, least));
  nn::Pass pass;
  const auto states = ops::unpad_input(model.hidden_states(input, pass), picked);
  const auto logits = mx::astype(model.masked_lm_logits(states, pass), mx::float32);
  const auto wanted = mx::expand_dims(mx::take(mx::flatten(labels), picked.indices, 0), -1);
  auto loss = mx::sum(mx::expand_dims(mx::logsumexp(logits, -1), -1) - mx::take_along_axis(logits, wanted, -1));
  auto right = mx::sum(mx::equal(mx::astype(mx::argmax(logits, -1, true), mx::int32), wanted));
  mx::eval({loss, right});
  evaluation.cross_entropy.add(loss.item<float>(), predicted);
  evaluation.accuracy.add(right.item<int32_t>(), predicted);
}

Evaluation evaluate(models::Model& model, data::BatchSource& source, const Processes& processes, const EvaluationOptions& options) {
  const Cast cast(model, options.compute);
  Evaluation mine;
  source.seek({0, 0});
  for (int64_t done = 0; options.batches < 0 || done < options.batches; ++done) {
    const auto batch = source.next();
    if (!batch) break;
    const int piece = options.rows > 0 ? std::min(options.rows, batch->rows) : batch->rows;
    for (int first = 0; first < batch->rows && !io::interrupted(); first += piece) {
      add_batch(mine, model, *batch, first, std::min(piece, batch->rows - first));
    }
    if (io::interrupted()) break;
  }
  return sum_of(mine, processes);
}

}  // namespace m2bert::train
