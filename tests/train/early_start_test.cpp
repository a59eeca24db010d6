// The loop of several processes that start a step before the loss of the one before it is known, as on GPUs, over MLX's ring.
#include "m2bert/io/host_interrupt.h"
#include "m2bert/io/interrupt.h"
#include "m2bert/train/fixed_batches.h"
#include "m2bert/train/trainer.h"
#include "several_processes.h"
#include "tiny_model.h"

namespace m2bert::train {
namespace {

constexpr int kEpoch = 9, kRows = 8, kLast = 5;         // batches of an epoch, rows of a batch and of the last one
constexpr int kUnlabelled = 2;                          // the batch in which the last process has no predicted token
constexpr int kSamples = (kEpoch - 1) * kRows + kLast;  // of an epoch
constexpr int kSteps = 21;                              // two epochs and a part of the third
constexpr const char* kMishap = "M2BERT_TEST_MISHAP";   // "KIND RANK BATCH"

// The rows of this process of batch `number` of an epoch.
data::Batch share_of(int number) {
  static const auto all = [] {
    FixedBatches source(trainlog() / "inputs.safetensors", 0, 1);
    std::vector<data::Batch> batches;
    while (int(batches.size()) < kEpoch) batches.push_back(*source.next());
    return batches;
  }();
  const auto& whole = all.at(size_t(number));
  const int present = number == kEpoch - 1 ? kLast : kRows, each = (kRows + joined().size() - 1) / joined().size();
  const int first = std::min(joined().rank() * each, present), last = std::min(first + each, present);
  auto rows = [&](const std::vector<int32_t>& values) {
    return std::vector<int32_t>(values.begin() + first * whole.length, values.begin() + last * whole.length);
  };
  data::Batch batch;
  batch.rows = last - first;
  batch.length = whole.length;
  batch.input_ids = rows(whole.input_ids), batch.attention_mask = rows(whole.attention_mask), batch.labels = rows(whole.labels);
  if (number == kUnlabelled && joined().rank() == joined().size() - 1) std::ranges::fill(batch.labels, -100);
  return batch;
}

struct Source : data::BatchSource {
  std::optional<data::Batch> next() override {
    EXPECT_LT(drawn, kEpoch) << "the epoch is over";
    EXPECT_FALSE(over) << "it has failed or ended";
    over = true;
    ++calls;
    if (on_call) on_call();
    if (calls == ends_at) return std::nullopt;
    over = false;
    return share_of(drawn++);
  }
  void seek(const data::DataPosition& position) override {
    drawn = int(position.samples) / kRows;
    over = false;
  }
  uint64_t samples_per_epoch() const override { return kSamples; }

  int drawn = 0, calls = 0, ends_at = 0;
  bool over = false;
  std::function<void()> on_call;
};

// The loss is NaN for the batch with these input_ids, at most so often. A signal comes when the second graph of such a batch is built.
struct Breaks : tasks::MaskedLM {
  using MaskedLM::MaskedLM;
  mx::array loss(const models::Model& model, const data::Batch& batch, int first, int rows, nn::Pass& pass) const override {
    if (fails_with == batch.input_ids) fail("no loss");
    if (signals_at == batch.input_ids && first > 0) io::interrupt(SIGTERM);
    const auto loss = MaskedLM::loss(model, batch, first, rows, pass);
    return broken == batch.input_ids && times-- > 0 ? loss * mx::array(NAN) : loss;
  }
  std::vector<int32_t> broken, fails_with, signals_at;
  mutable int times = 1000;
};

struct AfterStep : Monitor {
  explicit AfterStep(std::function<void(const StepReport&)> call) : call(std::move(call)) {}
  void after_step(const StepReport& step, Record&) override { call(step); }
  std::function<void(const StepReport&)> call;
};

struct Plan {
  LossGuardOptions guard = {};
  RunFolder* folder = nullptr;
  std::string duration = std::to_string(kSteps) + "ba", save = "1000ba", eval = "";
};

struct Training : TinyModel {
  explicit Training(const StepOptions& options, const Plan& plan = {})
      : TinyModel(options, 0.1, joined()),
        own_task(model.config()),
        own_step(model, own_task, optimizer, processes, options),
        trainer(parts(plan), trainer_options(plan)) {}

  TrainerParts parts(const Plan& plan) {
    TrainerParts all{{model, optimizer}, own_task, own_step, source, {}, processes, LossGuard(plan.guard), {}, {}, plan.folder};
    if (!plan.eval.empty()) all.eval_sets = {{"", &evaluated}};
    all.monitors.push_back(std::make_unique<AfterStep>([this](const StepReport& step) {
      losses.push_back(step.gradient.loss);
      fetched.push_back(source.calls);
      if (after_step) after_step();
    }));
    return all;
  }
  static TrainerOptions trainer_options(const Plan& plan) {
    TrainerOptions o;
    o.save_interval = optim::parse_time(plan.save, "");
    if (!plan.eval.empty()) o.eval_interval = optim::parse_time(plan.eval, "");
    o.length = {optim::parse_time(plan.duration, ""), kEpoch};
    o.samples_per_epoch = kSamples;
    o.global_batch = kRows;
    o.evaluation.batches = 2;
    return o;
  }
  int64_t batch() const { return trainer.time().batch; }

  Breaks own_task;
  Step own_step;
  Source source, evaluated;
  std::vector<double> losses;
  std::vector<int> fetched;  // batches, when each step was complete
  std::function<void()> after_step;
  Trainer trainer;
};

StepOptions early(int microbatch_rows = 0) {
  StepOptions o;
  o.microbatch_rows = microbatch_rows;
  o.sums_in_graph = true;
  o.defers_loss = true;
  return o;
}

StepOptions synchronous(int microbatch_rows = 0) {
  auto o = early(microbatch_rows);
  o.defers_loss = false;
  return o;
}

void expect_same(Training& a, Training& b) {
  EXPECT_EQ(a.trainer.time(), b.trainer.time());
  EXPECT_EQ(a.optimizer.steps(), b.optimizer.steps());
  auto x = nn::parameters(a.model), y = nn::parameters(b.model);
  for (const auto& moment : a.optimizer.state()) x.push_back(moment);
  for (const auto& moment : b.optimizer.state()) y.push_back(moment);
  for (size_t i = 0; i < x.size(); ++i) EXPECT_TRUE(mx::array_equal(*x[i].array, *y[i].array).item<bool>()) << x[i].name;
}

// A folder of this process, so that each can load what it had when a run ended.
golden::fs::path own_folder(const std::string& name) { return shared_folder() / (name + std::to_string(joined().rank())); }

void resume(Training& run, const RunFolder& folder) {
  const auto state = folder.load_latest({run.model, run.optimizer});
  ASSERT_TRUE(state.has_value());
  run.trainer.resume(*state);
}

LossGuardOptions rejects_spikes() {
  LossGuardOptions guard;
  guard.on_spike = Reaction::skip;
  guard.spike_factor = 100;  // not these
  return guard;
}

// Several epochs with an uneven end each, and a batch that has no loss in one process; also where the guard sees a loss before the update.
TEST(EarlyStart, DISABLED_HasTheBitsOfTheSynchronousSteps) {
  RunFolder folder(own_folder("run"), 1);
  Training plain(synchronous(), {.eval = "3ba"}), run(early(), {.folder = &folder, .save = "2ba", .eval = "3ba"}),
      guarded(early(), {.guard = rejects_spikes(), .eval = "3ba"});
  for (auto* each : {&plain, &run, &guarded}) EXPECT_EQ(each->trainer.fit(), TrainingEnd::finished);
  EXPECT_EQ(plain.losses.size(), size_t(kSteps));
  for (auto* each : {&run, &guarded}) {
    EXPECT_EQ(each->losses, plain.losses);
    EXPECT_EQ(each->source.calls, plain.source.calls);
    EXPECT_EQ(each->trainer.last_evaluations().at(0).metrics.at(0).value, plain.trainer.last_evaluations().at(0).metrics.at(0).value);
    expect_same(*each, plain);
  }
}

// When a step is complete, the start of the next one has fetched the two batches after that.
TEST(EarlyStart, DISABLED_StartsStepsEarly) {
  Training run(early(), {.duration = "18ba"});
  EXPECT_EQ(run.trainer.fit(), TrainingEnd::finished);
  // The first two batches of an epoch, the one without a loss and the one after it are started in their turn.
  const std::vector<int> first{3, 4, 5, 7, 8, 9, 9, 9, 9};
  auto both = first;
  for (const int count : first) both.push_back(count + kEpoch);
  EXPECT_EQ(run.fetched, both);
}

// Batches of several microbatches are not started early.
TEST(EarlyStart, DISABLED_WaitsWithMicrobatches) {
  Training run(early(2), {.duration = "9ba"}), plain(synchronous(2), {.duration = "9ba"});
  for (auto* each : {&run, &plain}) EXPECT_EQ(each->trainer.fit(), TrainingEnd::finished);
  EXPECT_EQ(run.fetched, (std::vector<int>{3, 4, 5, 6, 7, 8, 9, 9, 9}));
  EXPECT_EQ(run.losses, plain.losses);
  expect_same(run, plain);
}

// The loss of one process is NaN: all of them leave the batch out, go back or fail.
TEST(EarlyStart, DISABLED_OneNaNIsThatOfAll) {
  for (const auto& [reaction, number] : {std::pair{Reaction::skip, 0},
                                         {Reaction::skip, 5},
                                         {Reaction::skip, kEpoch - 1},
                                         {Reaction::roll_back, 5},
                                         {Reaction::roll_back, kEpoch - 2},
                                         {Reaction::stop, 5}}) {
    LossGuardOptions guard;
    guard.on_nan = reaction;
    std::vector<std::unique_ptr<Training>> both;
    for (const auto& options : {early(), synchronous()}) {
      RunFolder folder(own_folder("nan" + std::to_string(int(reaction)) + std::to_string(number) + (both.empty() ? "early" : "plain")), 1);
      auto& run = *both.emplace_back(std::make_unique<Training>(options, Plan{guard, &folder, "11ba", "2ba"}));
      if (joined().first()) run.own_task.broken = share_of(number).input_ids;
      run.own_task.times = 1;
      if (reaction == Reaction::stop) {
        EXPECT_PRED2(test::has, test::error_of([&] { run.trainer.fit(); }), ": loss nan");
        EXPECT_EQ(run.batch(), number);
        EXPECT_EQ(run.optimizer.steps(), number);
      } else {
        EXPECT_EQ(run.trainer.fit(), TrainingEnd::finished);
        EXPECT_EQ(run.batch(), 11);
      }
    }
    EXPECT_EQ(both[0]->losses, both[1]->losses);
    if (reaction != Reaction::stop) {
      EXPECT_EQ(both[0]->source.calls, both[1]->source.calls);
    }
    expect_same(*both[0], *both[1]);
  }
}

// When a signal comes in one process, and after how many steps all of them stop.
struct Signal {
  std::string when;  // after so many steps; as that batch is fetched; as the graph of its second microbatch is built
  int number, end;
  bool guarded = false;
};

// A signal in one process stops all of them after the same step, and no row is lost.
TEST(EarlyStart, DISABLED_OneSignalStopsAll) {
  Training whole(early()), in_parts(early(2));
  for (auto* each : {&whole, &in_parts}) EXPECT_EQ(each->trainer.fit(), TrainingEnd::finished);
  const std::vector<Signal> all{
      {"after", 1, 1},            // the next step begins with a sum of counts
      {"after", 4, 6},            // the next step is under way without the signal, the one after it has it, and then one is dropped
      {"after", 4, 5, true},      // the next step has it, and none is under way then
      {"after", 8, 9},            // the end of an epoch
      {"after", kSteps, kSteps},  // the end of the run
      {"fetched", 0, 0},          // before the first step
      {"fetched", 7, 6},          // by the early start of step 5, which has it; step 6 is dropped
      {"between", 4, 4},          // the step is abandoned
  };
  for (int rank = 0; const auto& signal : all) {
    SCOPED_TRACE(signal.when + std::to_string(signal.number));
    const bool here = joined().rank() == rank++ % joined().size();
    const auto options = early(signal.when == "between" ? 2 : 0);
    RunFolder folder(own_folder(signal.when + std::to_string(signal.number) + (signal.guarded ? "guarded" : "")), 1);
    const LossGuardOptions guard = signal.guarded ? rejects_spikes() : LossGuardOptions{};
    Training run(options, {.guard = guard, .folder = &folder}), resumed(options, {.guard = guard});
    run.after_step = [&] {
      if (here && signal.when == "after" && run.batch() == signal.number) io::interrupt(SIGTERM);
    };
    run.source.on_call = [&] {
      if (here && signal.when == "fetched" && run.source.calls == signal.number + 1) io::interrupt(SIGTERM);
    };
    if (here && signal.when == "between") run.own_task.signals_at = share_of(signal.number).input_ids;
    EXPECT_EQ(run.trainer.fit(), TrainingEnd::stopped);
    io::clear_interrupt();
    EXPECT_EQ(run.batch(), signal.end);
    if (run.batch() > 0) resume(resumed, folder);
    EXPECT_EQ(resumed.trainer.fit(), TrainingEnd::finished);
    run.losses.insert(run.losses.end(), resumed.losses.begin(), resumed.losses.end());
    auto& expected = signal.when == "between" ? in_parts : whole;
    EXPECT_EQ(run.losses, expected.losses);
    expect_same(resumed, expected);
  }
}

// A signal cuts an evaluation short, while the next step is under way. It is evaluated again when the run resumes.
TEST(EarlyStart, DISABLED_ASignalInAnEvaluationStopsAll) {
  RunFolder folder(own_folder("evaluation"), 1);
  Training run(early(), {.folder = &folder, .eval = "6ba"});
  run.evaluated.on_call = [&] {
    if (!joined().first()) io::interrupt(SIGTERM);
  };
  EXPECT_EQ(run.trainer.fit(), TrainingEnd::stopped);
  io::clear_interrupt();
  EXPECT_EQ(run.batch(), 6);
  Training resumed(early(), {.duration = "6ba", .eval = "6ba"});
  resume(resumed, folder);
  EXPECT_EQ(resumed.trainer.fit(), TrainingEnd::finished);
  EXPECT_EQ(resumed.trainer.last_evaluations().size(), 1U);
}

TEST(EarlyStart, InSeveralProcesses) {
  if (mx::default_device() != mx::Device(mx::Device::cpu)) GTEST_SKIP() << "the ring is for CPUs";
  run_in_processes(2, "EarlyStart.DISABLED_*", test::Scratch());
  run_in_processes(3, "EarlyStart.DISABLED_*-*Microbatches:*NaN*:*OneSignal*", test::Scratch());
}

// What happens to one process when it fetches a batch (fails, ends, dies), starts it (no-loss) or is through with it (leaves). Batches are
// counted from 0 over all epochs.
struct Mishap {
  std::string kind;
  int rank = 0, batch = 0;
  bool here() const { return joined().rank() == rank; }
};

Mishap mishap() {
  std::istringstream text(std::getenv(kMishap));
  Mishap m;
  text >> m.kind >> m.rank >> m.batch;
  return m;
}

// The process says what is wrong, and the others that it is gone. All save the state before a batch that cannot be had. Nobody saves
// weights after an update that one process had no part in.
TEST(Mishap, DISABLED_EndsAll) {
  const auto m = mishap();
  std::map<int64_t, nn::Arrays> weights;  // after each batch
  Training whole(early(), {.duration = "14ba"});
  whole.after_step = [&] {
    for (const auto& p : nn::parameters(whole.model)) weights[whole.batch()].push_back(*p.array);
  };
  EXPECT_EQ(whole.trainer.fit(), TrainingEnd::finished);
  RunFolder folder(own_folder("run"), 1);
  Training run(early(), {.folder = &folder});
  run.source.on_call = [&] {
    if (!m.here() || run.source.calls != m.batch + 1) return;
    if (m.kind == "fails") fail("broken shard");
    if (m.kind == "ends") run.source.ends_at = run.source.calls;
    if (m.kind == "dies") ::_exit(0);
  };
  run.after_step = [&] {
    if (m.here() && m.kind == "leaves" && run.batch() == m.batch + 1) ::_exit(0);
  };
  if (m.here() && m.kind == "no-loss") run.own_task.fails_with = share_of(m.batch % kEpoch).input_ids;
  if (m.here()) {
    const auto error = test::error_of([&] { run.trainer.fit(); });
    EXPECT_PRED2(test::has, error, m.kind == "fails" ? "broken shard" : m.kind == "ends" ? "the training data ended" : "no loss");
    EXPECT_EQ(run.batch(), m.batch);
  } else if (m.kind == "fails" || m.kind == "ends") {
    EXPECT_THROW(run.trainer.fit(), ProcessLost);
    EXPECT_EQ(run.batch(), m.batch);
  } else {
    EXPECT_ANY_THROW(run.trainer.fit());
  }
  if (const auto state = folder.load_latest({run.model, run.optimizer})) {
    const auto saved = nn::parameters(run.model);
    for (size_t i = 0; i < saved.size(); ++i) {
      EXPECT_TRUE(mx::array_equal(*saved[i].array, weights.at(state->time.batch).at(i)).item<bool>()) << saved[i].name;
    }
  }
}

TEST(Mishap, DISABLED_Resumes) {
  const auto m = mishap();
  Training run(early()), whole(early());
  EXPECT_EQ(whole.trainer.fit(), TrainingEnd::finished);
  RunFolder folder(own_folder("run"), 1);
  resume(run, folder);
  EXPECT_EQ(run.batch(), m.batch);
  EXPECT_EQ(run.trainer.fit(), TrainingEnd::finished);
  EXPECT_EQ(run.losses, std::vector<double>(whole.losses.begin() + m.batch, whole.losses.end()));
  expect_same(run, whole);
}

TEST(Mishap, InOneProcess) {
  if (mx::default_device() != mx::Device(mx::Device::cpu)) GTEST_SKIP() << "the ring is for CPUs";
  for (const char* what : {"fails 0 5", "fails 1 10", "ends 1 3", "ends 0 13", "no-loss 1 5", "dies 1 7", "leaves 0 4"}) {
    SCOPED_TRACE(what);
    const test::Scratch scratch;
    ::setenv(kMishap, what, 1);
    run_in_processes(2, "Mishap.DISABLED_EndsAll", scratch);
    const std::string kind = what;
    if (kind.starts_with("fails") || kind.starts_with("ends")) run_in_processes(2, "Mishap.DISABLED_Resumes", scratch);
    ::unsetenv(kMishap);
  }
}

}  // namespace
}  // namespace m2bert::train
