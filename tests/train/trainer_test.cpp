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

// The loss is NaN for the batches with these input_ids, at most so often.
struct BrokenAtTimes : tasks::MaskedLM {
  using MaskedLM::MaskedLM;
  mx::array loss(const models::Model& model, const data::Batch& batch, int first, int rows, nn::Pass& pass) const override {
    const auto loss = MaskedLM::loss(model, batch, first, rows, pass);
    if (fails_with == batch.input_ids) fail("no loss");
    return broken == batch.input_ids && times-- > 0 ? loss * mx::array(NAN) : loss;
  }
  std::vector<int32_t> broken, fails_with;
  mutable int times = 1000;
};

StepOptions deferred() {
  StepOptions o;
  o.defers_loss = true;
  return o;
}

TrainerOptions options_of(const std::string& duration, const std::string& save_interval) {
  TrainerOptions o;
  o.save_interval = optim::parse_time(save_interval, "");
  o.length = {optim::parse_time(duration, ""), kEpoch};
  o.samples_per_epoch = kEpoch * kRows;
  o.global_batch = kRows;
  return o;
}

struct Made : TinyModel {
  explicit Made(const std::string& duration, const LossGuardOptions& guard = {}, const StepOptions& options = {},
                RunFolder* folder = nullptr, const std::string& save_interval = "1000ba")
      : TinyModel(options, 0.1),
        own_task(model.config()),
        own_step(model, own_task, optimizer, processes, options),
        trainer({{model, optimizer}, own_task, own_step, source, {}, processes, LossGuard(guard), {}, {}, folder},
                options_of(duration, save_interval)) {}
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

std::vector<int32_t> input_ids_of(int batch) {
  FixedBatches source(trainlog() / "inputs.safetensors", 0, 1);
  for (int i = 0; i < batch; ++i) source.next();
  return source.next()->input_ids;
}

// A batch whose loss is NaN is left out, also where its update and the next step were launched before the loss was known.
TEST(Trainer, SkipsBatchesWithoutALoss) {
  LossGuardOptions guard;
  guard.on_nan = Reaction::skip;
  Made plain("7ba", guard), run("7ba", guard, deferred());
  for (auto* made : {&plain, &run}) {
    made->own_task.broken = input_ids_of(2);
    EXPECT_EQ(made->trainer.fit(), TrainingEnd::finished);
    EXPECT_EQ(made->optimizer.steps(), 7);
    EXPECT_EQ(made->trainer.time().batch, 7);
    EXPECT_EQ(made->trainer.time().epoch, 2);  // 9 batches were drawn
  }
  EXPECT_EQ(plain.source.calls, run.source.calls);
  expect_same_weights(run, plain);
}

// The step that was started early had other weights; its batch and the one after it are still there, also at the end of an epoch.
TEST(Trainer, RollsBack) {
  LossGuardOptions guard;
  guard.on_nan = Reaction::roll_back;
  for (const int batch : {1, 2, 3}) {
    std::vector<std::unique_ptr<Made>> both;
    for (const auto& options : {StepOptions{}, deferred()}) {
      const test::Scratch scratch;
      RunFolder folder(scratch / "run", -1);
      auto& made = *both.emplace_back(std::make_unique<Made>("7ba", guard, options, &folder, "1ba"));
      made.own_task.broken = input_ids_of(batch);
      made.own_task.times = 1;
      EXPECT_EQ(made.trainer.fit(), TrainingEnd::finished);
      EXPECT_EQ(made.optimizer.steps(), 7);
    }
    EXPECT_EQ(both[0]->source.calls, both[1]->source.calls);
    expect_same_weights(*both[0], *both[1]);
  }
}

// What was saved in the middle of a run, while the next step was under way, is the state of that batch.
TEST(Trainer, SavesBetweenSteps) {
  const test::Scratch scratch;
  RunFolder folder(scratch / "run", -1);
  Made run("6ba", {}, deferred(), &folder, "2ba"), resumed("6ba", {}, deferred());
  EXPECT_EQ(run.trainer.fit(), TrainingEnd::finished);
  ASSERT_EQ(folder.checkpoints().size(), 3U);
  golden::fs::remove(folder.checkpoints()[0]);
  golden::fs::remove(folder.checkpoints()[0]);
  const auto state = folder.load_latest({resumed.model, resumed.optimizer});
  ASSERT_TRUE(state.has_value());
  EXPECT_EQ(state->time.batch, 2);
  EXPECT_EQ(resumed.optimizer.steps(), 2);
  resumed.trainer.resume(*state);
  EXPECT_EQ(resumed.trainer.fit(), TrainingEnd::finished);
  expect_same_weights(run, resumed);
}

// An error of the step that was started early comes when this one is complete.
TEST(Trainer, ErrorsOfTheNextStepWaitForTheirTurn) {
  for (const auto& options : {StepOptions{}, deferred()}) {
    Made run("6ba", {}, options), plain("6ba");
    run.own_task.fails_with = input_ids_of(2);
    EXPECT_EQ(test::error_of([&] { run.trainer.fit(); }), "no loss");
    EXPECT_EQ(run.trainer.time().batch, 2);
    train_plainly(plain, 2);
    expect_same_weights(run, plain);
  }
}

TEST(Trainer, StopsBeforeTheUpdateOfANaN) {
  Made plain("7ba"), run("7ba", {}, deferred());
  for (auto* made : {&plain, &run}) {
    made->own_task.broken = input_ids_of(1);
    EXPECT_PRED2(test::has, test::error_of([&] { made->trainer.fit(); }), "batch 2: loss nan");
    EXPECT_EQ(made->optimizer.steps(), 1);
  }
  expect_same_weights(run, plain);
}

}  // namespace
}  // namespace m2bert::train
