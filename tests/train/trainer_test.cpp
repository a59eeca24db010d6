// The loop alone, on the model and batches of tests/golden/trainlog.
#include "m2bert/train/trainer.h"

#include "m2bert/train/fixed_batches.h"
#include "tiny_model.h"

namespace m2bert::train {
namespace {

constexpr int kEpoch = 4, kRows = 8;  // batches of an epoch, rows of a batch

// Counts its calls and may fail at one of them.
struct Source : data::BatchSource {
  std::optional<data::Batch> next() override {
    EXPECT_LT(drawn, kEpoch) << "the epoch is over";
    ++drawn;
    if (++calls == fails_at) fail("broken shard");
    if (calls == ends_at) return std::nullopt;
    return batches.next();
  }
  void seek(const data::DataPosition& position) override {
    drawn = int(position.samples) / kRows;
    batches.seek(position);
  }
  uint64_t samples_per_epoch() const override { return kEpoch * kRows; }

  FixedBatches batches{trainlog() / "inputs.safetensors", 0, 1};
  int drawn = 0, calls = 0, fails_at = 0, ends_at = 0;
};

// The loss is NaN for the batches with these input_ids.
struct BrokenAtTimes : tasks::MaskedLM {
  using MaskedLM::MaskedLM;
  mx::array loss(const models::Model& model, const data::Batch& batch, int first, int rows, nn::Pass& pass) const override {
    const auto loss = MaskedLM::loss(model, batch, first, rows, pass);
    return broken == batch.input_ids ? loss * mx::array(NAN) : loss;
  }
  std::vector<int32_t> broken;
};

StepOptions deferred() {
  StepOptions o;
  o.defers_loss = true;
  return o;
}

TrainerOptions options_of(const std::string& duration) {
  TrainerOptions o;
  o.length = {optim::parse_time(duration, ""), kEpoch};
  o.samples_per_epoch = kEpoch * kRows;
  o.global_batch = kRows;
  return o;
}

struct Made : TinyModel {
  explicit Made(const std::string& duration, const LossGuardOptions& guard = {}, const StepOptions& options = {})
      : TinyModel(options, 0.1),
        own_task(model.config()),
        own_step(model, own_task, optimizer, processes, options),
        trainer({{model, optimizer}, own_task, own_step, source, {}, processes, LossGuard(guard)}, options_of(duration)) {}
  BrokenAtTimes own_task;
  Step own_step;
  Source source;
  Trainer trainer;
};

// The batches one after the other, each known only when its step begins.
void train_plainly(Made& made, int steps) {
  FixedBatches source(trainlog() / "inputs.safetensors", 0, 1);
  for (int i = 0; i < steps; ++i) {
    if (i % kEpoch == 0) source.seek({});
    auto gradient = *made.step.gradient(*source.next(), i);
    made.step.update(gradient, 1);
  }
}

void expect_same_weights(Made& a, Made& b) {
  const auto x = nn::parameters(a.model), y = nn::parameters(b.model);
  for (size_t i = 0; i < x.size(); ++i) EXPECT_TRUE(mx::array_equal(*x[i].array, *y[i].array).item<bool>()) << x[i].name;
}

TEST(Trainer, LooksAheadWithinEpochsAlone) {
  for (const auto& options : {StepOptions{}, deferred()}) {
    Made run("10ba", {}, options), plain("10ba");
    EXPECT_EQ(run.trainer.fit(), TrainingEnd::finished);
    EXPECT_EQ(run.source.calls, 10);  // nothing is drawn beyond the end of the run
    train_plainly(plain, 10);
    expect_same_weights(run, plain);
  }
}

// The step before is complete then, and the error the same.
TEST(Trainer, ErrorsOfTheDataWaitForTheirTurn) {
  for (const auto& options : {StepOptions{}, deferred()}) {
    Made run("10ba", {}, options), plain("10ba");
    run.source.fails_at = 7;
    EXPECT_EQ(test::error_of([&] { run.trainer.fit(); }), "broken shard");
    EXPECT_EQ(run.trainer.time().batch, 6);
    train_plainly(plain, 6);
    expect_same_weights(run, plain);
  }
  Made short_epoch("10ba");
  short_epoch.source.ends_at = 3;
  EXPECT_EQ(test::error_of([&] { short_epoch.trainer.fit(); }),
            "the training data ended after 16 samples of epoch 0, which should have 32");
  EXPECT_EQ(short_epoch.trainer.time().batch, 2);
}

// From the third batch on every loss counts as a spike. The batches that are left out go on over the end of the epoch.
TEST(Trainer, SkipsBatches) {
  LossGuardOptions guard;
  guard.on_spike = Reaction::skip;
  guard.window = 2;
  guard.spike_factor = 0.01;
  guard.max_skips = 5;
  Made run("10ba", guard), plain("10ba");
  EXPECT_PRED2(test::has, test::error_of([&] { run.trainer.fit(); }), "5 batches in a row were left out already");
  EXPECT_EQ(run.trainer.time().batch, 2);
  EXPECT_EQ(run.trainer.time().epoch, 1);
  train_plainly(plain, 2);
  expect_same_weights(run, plain);
}

// A batch whose loss is NaN is left out, also where its update and the next step were launched before the loss was known.
TEST(Trainer, SkipsBatchesWithoutALoss) {
  LossGuardOptions guard;
  guard.on_nan = Reaction::skip;
  FixedBatches source(trainlog() / "inputs.safetensors", 0, 1);
  source.next();
  source.next();
  const auto third = *source.next();
  Made plain("7ba", guard), run("7ba", guard, deferred());
  for (auto* made : {&plain, &run}) {
    made->own_task.broken = third.input_ids;
    EXPECT_EQ(made->trainer.fit(), TrainingEnd::finished);
    EXPECT_EQ(made->optimizer.steps(), 7);
    EXPECT_EQ(made->trainer.time().batch, 7);
    EXPECT_EQ(made->trainer.time().epoch, 2);  // 9 batches were drawn
  }
  EXPECT_EQ(plain.source.calls, run.source.calls);
  expect_same_weights(run, plain);
}

TEST(Trainer, StopsBeforeTheUpdateOfANaN) {
  Made plain("7ba"), run("7ba", {}, deferred());
  FixedBatches source(trainlog() / "inputs.safetensors", 0, 1);
  source.next();
  const auto second = *source.next();
  for (auto* made : {&plain, &run}) {
    made->own_task.broken = second.input_ids;
    EXPECT_PRED2(test::has, test::error_of([&] { made->trainer.fit(); }), "batch 2: loss nan");
    EXPECT_EQ(made->optimizer.steps(), 1);
  }
  expect_same_weights(run, plain);
}

}  // namespace
}  // namespace m2bert::train
