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

TrainerOptions options_of(const std::string& duration) {
  TrainerOptions o;
  o.length = {optim::parse_time(duration, ""), kEpoch};
  o.samples_per_epoch = kEpoch * kRows;
  o.global_batch = kRows;
  return o;
}

struct Made : TinyModel {
  explicit Made(const std::string& duration, const LossGuardOptions& guard = {})
      : TinyModel({}, 0.1), trainer({{model, optimizer}, task, step, source, {}, processes, LossGuard(guard)}, options_of(duration)) {}
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
  Made run("10ba"), plain("10ba");
  EXPECT_EQ(run.trainer.fit(), TrainingEnd::finished);
  EXPECT_EQ(run.source.calls, 10);  // nothing is drawn beyond the end of the run
  train_plainly(plain, 10);
  expect_same_weights(run, plain);
}

// The step before is complete then, and the error the same.
TEST(Trainer, ErrorsOfTheDataWaitForTheirTurn) {
  Made run("10ba"), plain("10ba");
  run.source.fails_at = 7;
  EXPECT_EQ(test::error_of([&] { run.trainer.fit(); }), "broken shard");
  EXPECT_EQ(run.trainer.time().batch, 6);
  train_plainly(plain, 6);
  expect_same_weights(run, plain);
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

}  // namespace
}  // namespace m2bert::train
