#include "m2bert/train/step.h"

#include <algorithm>
#include <cmath>

#include "m2bert/error.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/models/pretrained.h"
#include "m2bert/ops/gradients.h"

namespace m2bert::train {

namespace {

// One number from several that are near one another: dropout's keys must not be. splitmix64's mixing.
uint64_t mixed(uint64_t a, uint64_t b) {
  uint64_t x = a + 0x9e3779b97f4a7c15 * (b + 1);
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

mx::array rows_of(const std::vector<int32_t>& values, int length, int first, int rows) {
  return mx::array(values.data() + size_t(first) * size_t(length), {rows, length}, mx::int32);
}

void accumulate(nn::Arrays& sum, nn::Arrays grads) {
  if (sum.empty()) {
    sum = std::move(grads);
    return;
  }
  std::vector<mx::array*> to;
  for (auto& a : sum) to.push_back(&a);
  ops::axpby(to, grads, 1, 1);
}

}  // namespace

bool Gradient::finite() const { return std::isfinite(loss) && std::isfinite(norm); }

models::Batch model_input(const data::TrainBatch& b, int first, int rows) {
  models::Batch input{rows_of(b.ids, b.length, first, rows), rows_of(b.mask, b.length, first, rows), std::nullopt};
  const bool one_type = std::ranges::all_of(b.type_ids, [](int32_t type) { return type == 0; });
  if (!one_type) input.token_type_ids = rows_of(b.type_ids, b.length, first, rows);
  return input;
}

mx::array label_array(const data::TrainBatch& b, int first, int rows) { return rows_of(b.labels, b.length, first, rows); }

int64_t count_predicted(const models::Config& config, const data::TrainBatch& b, int first, int rows) {
  const int32_t least = config.family == models::Family::hf_bert ? 0 : 1;
  const auto* begin = b.labels.data() + size_t(first) * size_t(b.length);
  return std::count_if(begin, begin + size_t(rows) * size_t(b.length), [least](int32_t label) { return label >= least; });
}

Step::Step(models::Model& model, optim::AdamW& optimizer, const Processes& processes, const StepOptions& options)
    : model_(model), optimizer_(optimizer), processes_(processes), options_(options) {}

nn::ValueAndGrad Step::microbatch(const data::TrainBatch& batch, int first, int rows, double weight, int64_t number) {
  const auto input = model_input(batch, first, rows);
  const auto labels = label_array(batch, first, rows);
  // The key follows from the place in the global batch, so that several processes draw what one would.
  const auto place = uint64_t(processes_.rank()) * uint64_t(batch.rows) + uint64_t(first);
  const auto key = mx::random::key(mixed(mixed(options_.seed, uint64_t(number)), place));
  auto result = nn::value_and_grad(optimizer_.parameters(), [&] {
    if (options_.compute != mx::float32) models::cast_weights(model_, options_.compute);
    auto pass = nn::Pass::training(key);
    auto loss = model_.masked_lm_loss(input, labels, pass);
    return weight == 1 ? loss : loss * mx::array(float(weight));
  });
  auto all = result.grads;
  all.push_back(result.value);
  mx::eval(all);
  return result;
}

std::optional<Gradient> Step::gradient(const data::TrainBatch& batch, int64_t number) {
  const int piece = options_.microbatch_rows > 0 ? std::min(options_.microbatch_rows, batch.rows) : batch.rows;
  const auto& config = model_.config();
  const auto totals = processes_.sum_counts(
      {batch.rows, int64_t(batch.rows) * batch.length, count_predicted(config, batch, 0, batch.rows), io::interrupted() ? 1 : 0});
  if (totals[3] > 0) return std::nullopt;
  Gradient g{0, 0, totals[0], totals[1], totals[2], {}};
  bool stop = false;
  for (int first = 0; first < batch.rows && !stop; first += piece) {
    const int rows = std::min(piece, batch.rows - first);
    const int64_t predicted = count_predicted(config, batch, first, rows);
    if (predicted == 0) continue;
    const bool by_tokens = options_.weighting == Weighting::tokens;
    const double weight = by_tokens ? double(predicted) / double(g.predicted) : double(rows) / double(g.samples);
    auto part = microbatch(batch, first, rows, weight, number);
    g.loss += part.value.item<float>();
    accumulate(g.arrays, std::move(part.grads));
    stop = io::interrupted();
  }
  if (processes_.any(stop)) return std::nullopt;
  if (g.arrays.empty()) {
    for (const auto& p : optimizer_.parameters()) g.arrays.push_back(mx::zeros_like(*p.array));
  }
  processes_.sum_arrays(g.arrays);
  g.loss = processes_.sum_value(g.loss);
  g.norm = ops::global_norm(g.arrays);
  return g;
}

void Step::try_rows(int rows, int length) {
  data::TrainBatch batch;
  batch.rows = rows;
  batch.length = length;
  const auto size = size_t(rows) * size_t(length);
  for (size_t i = 0; i < size; ++i) {
    batch.ids.push_back(int32_t(i * 7919 % size_t(model_.config().vocab_size)));
    batch.labels.push_back(i % 3 == 0 ? std::max(batch.ids.back(), 1) : -100);
  }
  batch.mask.assign(size, 1);
  microbatch(batch, 0, rows, 1, 0);
}

void Step::update(Gradient& gradient, double factor) { optimizer_.step(gradient.arrays, factor, options_.clipping, gradient.norm); }

}  // namespace m2bert::train
