// Steps and evaluations know nothing of masked language modelling: here they run a contrastive task, a sample of which is a pair of rows.
#include "m2bert/tasks/task.h"

#include "m2bert/models/pretrained.h"
#include "m2bert/nn/loss.h"
#include "m2bert/train/evaluation.h"
#include "m2bert/train/step.h"
#include "tiny_run.h"

namespace m2bert::train {
namespace {

// Each first row is to find its second row among those of the microbatch.
class Pairs : public tasks::Task {
 public:
  models::Head head() const override { return models::Head::none; }
  int rows_per_sample() const override { return 2; }
  mx::array loss(const models::Model& model, const data::Batch& batch, int first, int rows, nn::Pass& pass) const override {
    return nn::cross_entropy(scores(model, batch, first, rows, pass), own(rows));
  }
  int64_t weight(const data::Batch&, int, int rows) const override { return rows / 2; }
  std::vector<tasks::Metric> train_metrics(double) const override { return {}; }
  std::vector<tasks::Metric> eval_metrics(const tasks::MetricSums& sums) const override {
    return {{"Recall", double(sums.counts[1]) / double(sums.counts[0])}};
  }
  tasks::MetricSums zero_sums() const override { return {{0, 0}, {}}; }
  void add_sums(tasks::MetricSums& sums, const models::Model& model, const data::Batch& batch, int first, int rows) const override {
    nn::Pass pass;
    const auto found = mx::astype(mx::argmax(scores(model, batch, first, rows, pass), -1), mx::int32);
    sums.counts[0] += rows / 2;
    sums.counts[1] += mx::sum(mx::equal(found, own(rows))).item<int32_t>();
  }
  double head_flops(int64_t) const override { return 0; }
  data::Batch dummy_batch(int rows, int length) const override {
    data::Batch batch{rows, length};
    for (int i = 0; i < rows * length; ++i) batch.input_ids.push_back(5 + (i / (2 * length) * 37 + i % length) % 200);
    batch.attention_mask.assign(batch.input_ids.size(), 1);
    return batch;
  }

 private:
  static mx::array own(int rows) { return mx::arange(0, rows / 2, 1, mx::int32); }
  static mx::array scores(const models::Model& model, const data::Batch& batch, int first, int rows, nn::Pass& pass) {
    const auto inputs = models::inputs_of(batch, first, rows);
    const auto v = models::l2_normalize(model.pool(model.hidden_states(inputs, pass), inputs.attention_mask, models::Pooling::mean));
    const auto pairs = mx::reshape(v, {rows / 2, 2, -1});
    return 20.0f * mx::matmul(mx::take(pairs, 0, 1), mx::transpose(mx::take(pairs, 1, 1)));
  }
};

// The same batch again and again.
class Repeated : public data::BatchSource {
 public:
  explicit Repeated(data::Batch batch) : batch_(std::move(batch)) {}
  std::optional<data::Batch> next() override { return batch_; }
  void seek(const data::DataPosition&) override {}
  uint64_t samples_per_epoch() const override { return uint64_t(batch_.rows) / 2; }

 private:
  data::Batch batch_;
};

struct Training {
  explicit Training(int microbatch_rows)
      : model(models::read_config(trainlog() / "config.yaml"), models::Head::none),
        optimizer(initialized(), optim::make_groups(nn::parameters(model), {1e-3, 0, std::nullopt, false}), {}),
        step(model, task, optimizer, processes, {.microbatch_rows = microbatch_rows}) {}
  std::vector<nn::NamedArray> initialized() {
    model.init(3);
    return nn::parameters(model);
  }
  models::Model model;
  Pairs task;
  optim::AdamW optimizer;
  Processes processes;
  Step step;
};

TEST(ContrastiveStep, CountsSamplesAndCutsBetweenThem) {
  const auto batch = Pairs().dummy_batch(8, 32);
  const auto whole = *Training(0).step.gradient(batch, 0);
  EXPECT_EQ(whole.samples, 4);
  EXPECT_EQ(whole.weight, 4);
  EXPECT_EQ(whole.tokens, 8 * 32);
  EXPECT_GT(whole.loss, 0);
  // A microbatch of one pair has no negatives: the loss is that of one class.
  for (const int rows : {1, 2, 3}) EXPECT_EQ(Training(rows).step.gradient(batch, 0)->loss, 0);
  EXPECT_GT(Training(5).step.gradient(batch, 0)->loss, 0);
}

TEST(ContrastiveStep, LearnsAndIsEvaluated) {
  Training run(0);
  Repeated source(Pairs().dummy_batch(8, 32));
  double first = 0, last = 0;
  for (int i = 0; i < 10; ++i) {
    auto gradient = *run.step.gradient(*source.next(), i);
    run.step.update(gradient, 1);
    last = gradient.loss;
    if (i == 0) first = last;
  }
  EXPECT_LT(last, first);
  const auto result = evaluate(run.model, run.task, source, run.processes, {2, 3, mx::float32});
  EXPECT_EQ(result.samples, 8);
  EXPECT_EQ(*tasks::find(result.metrics, "Recall"), 1);  // one pair at a time
  run.step.dry_run(4, 32);
}

}  // namespace
}  // namespace m2bert::train
