#include "m2bert/train/step.h"

#include <cmath>

#include "m2bert/ops/backend/backend.h"
#include "m2bert/train/fixed_batches.h"
#include "tiny_model.h"

namespace m2bert::train {
namespace {

struct Made : TinyModel {
  explicit Made(const StepOptions& options, double dropout = 0) : TinyModel(options, dropout) {}
};

StepOptions rows(int count, Weighting weighting = Weighting::task) {
  StepOptions o;
  o.microbatch_rows = count;
  o.weighting = weighting;
  return o;
}

std::vector<data::Batch> batches(int count) {
  FixedBatches source(trainlog() / "inputs.safetensors", 0, 1);
  std::vector<data::Batch> all;
  while (int(all.size()) < count) all.push_back(*source.next());
  return all;
}

void expect_same(const Gradient& a, const Gradient& b) {
  EXPECT_EQ(a.loss, b.loss);
  EXPECT_EQ(a.norm, b.norm);
  ASSERT_EQ(a.arrays.size(), b.arrays.size());
  for (size_t i = 0; i < a.arrays.size(); ++i) EXPECT_TRUE(mx::array_equal(a.arrays[i], b.arrays[i]).item<bool>());
}

data::Batch first_batch() { return *FixedBatches(trainlog() / "inputs.safetensors", 0, 1).next(); }

double loss_of(const StepOptions& options, const data::Batch& batch) { return Made(options).step.gradient(batch, 0)->loss; }

// Rows 0 and 1 have one label each, so that weighting by tokens differs from weighting by samples.
data::Batch uneven() {
  auto batch = first_batch();
  for (int row = 0; row < 2; ++row) {
    int kept = 0;
    for (int i = 0; i < batch.length; ++i) {
      auto& label = batch.labels[size_t(row * batch.length + i)];
      if (label > 0 && kept++ > 0) label = -100;
    }
  }
  return batch;
}

TEST(Step, WeighingByTaskTheCutDoesNotMatter) {
  const auto batch = uneven();
  const double whole = loss_of(rows(0), batch);
  for (const int n : {1, 2, 5}) EXPECT_NEAR(loss_of(rows(n), batch), whole, 1e-5 * whole);
}

// Composer's way: the mean of the microbatches' means, by samples.
TEST(Step, WeighingSamplesIsComposers) {
  const auto batch = uneven();
  double mean = 0;
  for (int first = 0; first < 8; first += 2) {
    data::Batch part;
    part.rows = 2;
    part.length = batch.length;
    auto cut = [&](const std::vector<int32_t>& all) {
      return std::vector<int32_t>(all.begin() + first * batch.length, all.begin() + (first + 2) * batch.length);
    };
    part.input_ids = cut(batch.input_ids), part.attention_mask = cut(batch.attention_mask), part.labels = cut(batch.labels);
    mean += loss_of(rows(0), part) / 4;
  }
  EXPECT_NEAR(loss_of(rows(2, Weighting::samples), batch), mean, 1e-5 * mean);
  EXPECT_GT(std::abs(loss_of(rows(2, Weighting::task), batch) - mean), 1e-3);
}

TEST(Step, BatchesWithoutALabelGiveNoNaN) {
  auto batch = first_batch();
  std::fill(batch.labels.begin(), batch.labels.begin() + 4 * batch.length, -100);
  EXPECT_TRUE(std::isfinite(loss_of(rows(2), batch)));
  std::ranges::fill(batch.labels, -100);
  const auto gradient = Made(rows(0)).step.gradient(batch, 0);
  EXPECT_EQ(gradient->loss, 0);
  EXPECT_EQ(gradient->norm, 0);
  EXPECT_EQ(gradient->weight, 0);
}

TEST(Step, DropoutFollowsSeedAndBatch) {
  const auto batch = first_batch();
  auto loss = [&](uint64_t seed, int64_t number) {
    auto options = rows(0);
    options.seed = seed;
    return Made(options, 0.2).step.gradient(batch, number)->loss;
  };
  EXPECT_EQ(loss(1, 0), loss(1, 0));
  EXPECT_NE(loss(1, 0), loss(1, 1));
  EXPECT_NE(loss(1, 0), loss(2, 0));
}

// bfloat16 is close to float32 and leaves parameters and gradients in float32.
TEST(Step, MixedPrecision) {
  auto options = rows(0);
  Made exact(options);
  options.compute = mx::bfloat16;
  Made mixed(options);
  auto a = *exact.step.gradient(first_batch(), 0), b = *mixed.step.gradient(first_batch(), 0);
  EXPECT_NE(a.loss, b.loss);
  EXPECT_NEAR(a.loss, b.loss, 0.02 * a.loss);
  EXPECT_NEAR(a.norm, b.norm, 0.1 * a.norm);
  for (const auto& g : b.arrays) EXPECT_EQ(g.dtype(), mx::float32);
  mixed.step.update(b, 1);
  for (const auto& p : nn::parameters(mixed.model)) EXPECT_EQ(p.array->dtype(), mx::float32);
}

// The graph of the next microbatch is built while the device works on this one: not a bit changes.
TEST(Step, IsTheSameWhereTheNextBatchIsKnown) {
  auto all = batches(4);
  std::fill(all[1].labels.begin(), all[1].labels.begin() + 3 * all[1].length, -100);  // its first microbatch has no weight
  for (const auto dtype : {mx::float32, mx::bfloat16}) {
    for (const auto& [count, on_thread] : {std::pair{0, false}, {3, false}, {0, true}, {3, true}}) {
      auto options = rows(count);
      options.compute = dtype;
      Made plain(options, 0.1);
      options.builds_on_thread = on_thread;
      Made ahead(options, 0.1);
      int asked = 0;
      for (size_t i = 0; i < all.size(); ++i) {
        auto a = *plain.step.gradient(all[i], int64_t(i));
        auto b = *ahead.step.gradient(all[i], int64_t(i), [&](int) -> const data::Batch* {
          ++asked;
          return i + 1 < all.size() ? &all[i + 1] : nullptr;
        });
        expect_same(a, b);
        plain.step.update(a, 1), ahead.step.update(b, 1);
      }
      EXPECT_EQ(asked, 4);
      const auto x = nn::parameters(plain.model), y = nn::parameters(ahead.model);
      for (size_t i = 0; i < x.size(); ++i) EXPECT_TRUE(mx::array_equal(*x[i].array, *y[i].array).item<bool>()) << x[i].name;
    }
  }
}

// The update and the next step are launched before the loss is known.
TEST(Step, IsTheSameWhereTheLossIsDeferred) {
  const auto all = batches(4);
  for (const int count : {0, 3}) {
    auto options = rows(count);
    Made plain(options, 0.1);
    options.defers_loss = true;
    Made made(options, 0.1);
    auto start = [&](size_t i) {
      return *made.step.start(all[i], int64_t(i), [&](int) { return i + 1 < all.size() ? &all[i + 1] : nullptr; });
    };
    auto started = start(0);
    for (size_t i = 0; i < all.size(); ++i) {
      EXPECT_TRUE(started.is_deferred());
      made.step.update(started, 1);
      std::optional<StartedGradient> next;
      if (i + 1 < all.size()) next = start(i + 1);
      const auto found = made.step.finish(started);
      auto expected = *plain.step.gradient(all[i], int64_t(i));
      plain.step.update(expected, 1);
      EXPECT_EQ(found.loss, expected.loss);
      EXPECT_NEAR(found.norm, expected.norm, 1e-5 * expected.norm);  // of squares that are added up in another order
      for (size_t a = 0; a < found.arrays.size(); ++a) {
        EXPECT_TRUE(mx::array_equal(found.arrays[a], expected.arrays[a]).item<bool>());
      }
      if (next) started = std::move(*next);
    }
    EXPECT_EQ(made.optimizer.steps(), plain.optimizer.steps());
    const auto x = nn::parameters(plain.model), y = nn::parameters(made.model);
    for (size_t i = 0; i < x.size(); ++i) EXPECT_TRUE(mx::array_equal(*x[i].array, *y[i].array).item<bool>()) << x[i].name;
  }
}

// Clipping follows the norm on the device.
TEST(Step, ClipsWhereTheLossIsDeferred) {
  auto options = rows(0);
  options.clipping = {optim::ClipBy::norm, 1e-3};
  Made plain(options);
  options.defers_loss = true;
  Made made(options);
  auto a = *plain.step.gradient(first_batch(), 0);
  plain.step.update(a, 1);
  auto b = *made.step.start(first_batch(), 0);
  made.step.update(b, 1);
  const auto x = nn::parameters(plain.model), y = nn::parameters(made.model);
  for (size_t i = 0; i < x.size(); ++i) EXPECT_TRUE(mx::allclose(*x[i].array, *y[i].array, 1e-5, 1e-7).item<bool>()) << x[i].name;
  const auto before = a.norm;
  EXPECT_GT(before, 1e-3);
}

// Another batch than the announced one gets its own graph.
TEST(Step, UsesWhatWasBuiltAheadForThatBatchAlone) {
  const auto all = batches(3);
  for (const int64_t number : {0, 1, 2}) {
    Made plain(rows(0), 0.1), ahead(rows(0), 0.1);
    const auto a = *plain.step.gradient(all[2], number);
    ahead.step.gradient(all[0], 0, [&](int) { return &all[1]; });
    expect_same(a, *ahead.step.gradient(all[2], number));
  }
}

struct CountsGraphs : tasks::MaskedLM {
  using MaskedLM::MaskedLM;
  mx::array loss(const models::Model& model, const data::Batch& batch, int first, int rows, nn::Pass& pass) const override {
    ++graphs;
    return MaskedLM::loss(model, batch, first, rows, pass);
  }
  mutable int graphs = 0;
};

TEST(Step, BuildsEachGraphOnce) {
  const auto all = batches(2);
  Made made(rows(0));
  const CountsGraphs task(made.model.config());
  Step step(made.model, task, made.optimizer, made.processes, rows(3));  // 3 microbatches
  step.gradient(all[0], 0, [&](int) { return &all[1]; });
  EXPECT_EQ(task.graphs, 4);
  step.gradient(all[1], 1);
  EXPECT_EQ(task.graphs, 6);
}

// The model reads the mask of a batch, but on the host.
TEST(Step, BuildsTheGraphOfAModelWithMaskPaddingAhead) {
  auto all = batches(2);
  for (auto& batch : all) {
    for (int row = 0; row < batch.rows; ++row) {
      for (int i = batch.length - 1 - row % 3; i < batch.length; ++i) {
        batch.attention_mask[size_t(row * batch.length + i)] = 0;
        batch.labels[size_t(row * batch.length + i)] = -100;
      }
    }
  }
  auto config = TinyModel::config(0.1);
  config.mask_padding = true;
  for (const bool on_thread : {false, true}) {
    auto options = rows(0);
    options.builds_on_thread = on_thread;
    const Processes processes;
    const CountsGraphs task(config);
    auto run = [&](bool ahead) {
      models::Model model(config, models::Head::masked_lm);
      model.init(5, true);
      optim::AdamW optimizer(nn::parameters(model), optim::make_groups(nn::parameters(model), {1e-3, 0, std::nullopt, false}), {});
      Step step(model, task, optimizer, processes, options);
      task.graphs = 0;
      step.gradient(all[0], 0, ahead ? Lookahead([&](int) { return &all[1]; }) : nullptr);
      auto gradient = *step.gradient(all[1], 1);
      EXPECT_EQ(task.graphs, 2);
      return gradient;
    };
    expect_same(run(false), run(true));
  }
}

// A task whose loss needs the weights while its graph is built.
struct ReadsWeights : tasks::MaskedLM {
  using MaskedLM::MaskedLM;
  mx::array loss(const models::Model& model, const data::Batch& batch, int first, int rows, nn::Pass& pass) const override {
    auto loss = MaskedLM::loss(model, batch, first, rows, pass);
    ++(loss.item<float>() > 0 ? positive : other);
    return loss;
  }
  mutable int positive = 0, other = 0;
};

TEST(Step, BuildsNothingAheadForATaskThatReadsWeights) {
  const auto all = batches(2);
  Made plain(rows(0)), made(rows(0));
  const ReadsWeights task(made.model.config());
  Step step(made.model, task, made.optimizer, made.processes, rows(0));
  expect_same(*plain.step.gradient(all[0], 0), *step.gradient(all[0], 0, [&](int) { return &all[1]; }));
  expect_same(*plain.step.gradient(all[1], 1), *step.gradient(all[1], 1));
  EXPECT_EQ(task.positive, 2);
}

// The graph that was built ahead does not hold the parameters, and the one that was evaluated is gone.
TEST(Step, UpdatesInPlace) {
  if (!ops::has_kernels({})) GTEST_SKIP() << "without kernels";
  const auto all = batches(4);
  for (const int count : {0, 3}) {
    auto options = rows(count);
    options.builds_on_thread = count > 0;
    Made made(options);
    auto step = [&](size_t i) {
      auto gradient = *made.step.gradient(all[i], int64_t(i), [&](int) { return i + 1 < all.size() ? &all[i + 1] : nullptr; });
      made.step.update(gradient, 1);
    };
    step(0);  // takes the arrays out of the file
    std::vector<std::pair<std::uintptr_t, void*>> before;
    auto trained = nn::parameters(made.model);
    for (const auto& p : made.optimizer.state()) trained.push_back(p);
    for (const auto& p : trained) before.emplace_back(p.array->id(), p.array->buffer().ptr());
    for (size_t i = 1; i < all.size(); ++i) step(i);
    for (size_t i = 0; i < trained.size(); ++i) {
      EXPECT_EQ(std::pair(trained[i].array->id(), trained[i].array->buffer().ptr()), before[i]) << trained[i].name;
    }
  }
}

TEST(Step, DryRunsLeaveNoTrace) {
  Made made(rows(0));
  const auto before = *nn::parameters(made.model)[0].array;
  made.step.dry_run(3, 32);
  EXPECT_EQ(nn::parameters(made.model)[0].array->id(), before.id());
  EXPECT_EQ(made.optimizer.steps(), 0);
}

}  // namespace
}  // namespace m2bert::train
