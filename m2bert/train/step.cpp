#include "m2bert/train/step.h"

#include <algorithm>
#include <cmath>

#include "m2bert/io/interrupt.h"
#include "m2bert/models/cast.h"
#include "m2bert/ops/gradients.h"

namespace m2bert::train {

namespace {

// Hashes two numbers into one: seeds that are near one another must not give similar dropout keys. Source: splitmix64.
uint64_t mix(uint64_t a, uint64_t b) {
  uint64_t x = a + 0x9e3779b97f4a7c15 * (b + 1);
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
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

Step::Step(models::Model& model, const tasks::Task& task, optim::AdamW& optimizer, const Processes& processes, const StepOptions& options)
    : model_(model), task_(task), optimizer_(optimizer), processes_(processes), options_(options) {}

nn::ValueAndGrad Step::microbatch(const data::Batch& batch, int first, int rows, double share, int64_t number) {
  // The key follows from the place in the global batch: several processes draw the same masks as one.
  const auto place = uint64_t(processes_.rank()) * uint64_t(batch.rows) + uint64_t(first);
  const auto key = mx::random::key(mix(mix(options_.seed, uint64_t(number)), place));
  auto result = nn::value_and_grad(optimizer_.parameters(), [&] {
    if (options_.compute != mx::float32) models::cast_weights(model_, options_.compute);
    auto pass = nn::Pass::training(key);
    auto loss = task_.loss(model_, batch, first, rows, pass);
    return share == 1 ? loss : loss * mx::array(float(share));
  });
  auto all = result.grads;
  all.push_back(result.value);
  mx::eval(all);
  return result;
}

std::optional<Gradient> Step::gradient(const data::Batch& batch, int64_t number) {
  const int piece = tasks::microbatch_rows(task_, batch, options_.microbatch_rows), per_sample = task_.rows_per_sample();
  const auto totals = processes_.sum_counts(
      {batch.rows / per_sample, int64_t(batch.rows) * batch.length, task_.weight(batch, 0, batch.rows), io::interrupted() ? 1 : 0});
  if (totals[3] > 0) return std::nullopt;
  Gradient g{0, 0, totals[0], totals[1], totals[2], {}};
  bool stop = false;
  for (int first = 0; first < batch.rows && !stop; first += piece) {
    const int rows = std::min(piece, batch.rows - first);
    const int64_t weight = task_.weight(batch, first, rows);
    if (weight == 0) continue;
    const bool by_task = options_.weighting == Weighting::task;
    const double share = by_task ? double(weight) / double(g.weight) : double(rows / per_sample) / double(g.samples);
    auto part = microbatch(batch, first, rows, share, number);
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

void Step::dry_run(int rows, int length) { microbatch(task_.dummy_batch(rows, length), 0, rows, 1, 0); }

void Step::update(Gradient& gradient, double factor) { optimizer_.step(gradient.arrays, factor, options_.clipping, gradient.norm); }

}  // namespace m2bert::train
