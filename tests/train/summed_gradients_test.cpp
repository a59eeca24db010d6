// Gradients of two processes, which this program starts of itself, summed in the graph of the backward pass as on GPUs, over MLX's ring.
#include <algorithm>

#include "m2bert/train/fixed_batches.h"
#include "several_processes.h"
#include "tiny_model.h"

namespace m2bert::train {
namespace {

constexpr int kSteps = 3, kRows = 8;  // rows of a batch

struct Case {
  Weighting weighting;
  int rows_of_two, rows_of_one;  // of a microbatch: the cut counts where samples are weighed
};
constexpr Case kCases[] = {{Weighting::task, 0, 0}, {Weighting::task, 3, 0}, {Weighting::samples, 0, kRows / 2}};

StepOptions options_of(Weighting weighting, int rows) {
  StepOptions o;
  o.sums_in_graph = true;
  o.weighting = weighting;
  o.microbatch_rows = rows;
  o.clipping = {optim::ClipBy::norm, 0.5};
  return o;
}

// The losses, norms and counts of a few steps.
std::vector<double> train(TinyModel& made, const Processes& processes, const StepOptions& options) {
  FixedBatches source(trainlog() / "inputs.safetensors", processes.rank(), processes.size());
  std::vector<data::Batch> batches;
  for (int i = 0; i < kSteps; ++i) batches.push_back(*source.next());
  // All processes have other numbers of predicted tokens, and one of them a batch without any.
  auto& labels = batches[1].labels;
  std::fill_n(labels.begin(), processes.size() == 1 ? labels.size() / 2 : processes.rank() == 0 ? labels.size() : 0, -100);
  Step step(made.model, made.task, made.optimizer, processes, options);
  std::vector<double> found;
  for (int i = 0; i < kSteps; ++i) {
    auto gradient = *step.gradient(batches[size_t(i)], i, [&](int) { return i + 1 < kSteps ? &batches[size_t(i) + 1] : nullptr; });
    step.update(gradient, 1);
    found.insert(found.end(), {gradient.loss, gradient.norm, double(gradient.samples), double(gradient.tokens), double(gradient.weight)});
  }
  return found;
}

// A process of the test below.
TEST(SummedGradients, DISABLED_OneOfTwo) {
  const auto& processes = joined();
  ASSERT_EQ(processes.size(), 2);
  int run = 0;
  for (const auto& c : kCases) {
    const auto options = options_of(c.weighting, c.rows_of_two);
    TinyModel made(options, 0);
    const auto found = train(made, processes, options);
    const std::vector<float> values(found.begin(), found.end());
    std::unordered_map<std::string, mx::array> all{{"found", mx::array(values.data(), {int(values.size())})}};
    for (const auto& p : nn::parameters(made.model)) all.emplace(p.name, *p.array);
    const std::string name = std::to_string(run++) + "-" + std::to_string(processes.rank()) + ".safetensors";
    mx::save_safetensors((shared_folder() / name).string(), all);
  }
}

// A process of the test below.
TEST(SummedGradients, DISABLED_StagesOfOne) {
  const auto& processes = joined();
  nn::Arrays arrays;
  for (int i = 0; i < 70; ++i) arrays.push_back(mx::full({i % 3 + 1}, float(i)));
  std::vector<std::uintptr_t> given, staged;
  for (const auto& a : arrays) given.push_back(a.id());
  std::optional<mx::array> last;
  auto stages = processes.sum_lazily(arrays, last);
  ASSERT_EQ(stages.size(), 3u);  // 31 arrays each
  for (size_t k = 0; k < stages.size(); ++k) {
    if (k > 0) {
      EXPECT_EQ(std::count(given.begin(), given.end(), stages[k].back().id()), 0) << "the sum before";
      stages[k].pop_back();
    }
    for (const auto& a : stages[k]) staged.push_back(a.id());
  }
  std::ranges::reverse(staged);  // those of the last arrays first
  EXPECT_EQ(staged, given);
  for (auto& stage : stages) mx::async_eval(std::move(stage));
  processes.wait_for({*last});
  for (int i = 0; i < 70; ++i) EXPECT_TRUE(mx::array_equal(arrays[size_t(i)], mx::full({i % 3 + 1}, 2.0f * float(i))).item<bool>()) << i;
}

TEST(SummedGradients, StagesHoldEachGradientOnce) {
  if (mx::default_device() != mx::Device(mx::Device::cpu)) GTEST_SKIP() << "the ring is for CPUs";
  const test::Scratch scratch;
  run_in_processes(2, "SummedGradients.DISABLED_StagesOfOne", scratch);
}

TEST(SummedGradients, TwoEqualOne) {
  if (mx::default_device() != mx::Device(mx::Device::cpu)) GTEST_SKIP() << "the ring is for CPUs";
  const test::Scratch scratch;
  run_in_processes(2, "SummedGradients.DISABLED_OneOfTwo", scratch);
  for (int run = 0; const auto& c : kCases) {
    const auto options = options_of(c.weighting, c.rows_of_one);
    TinyModel one(options, 0);
    const auto found = train(one, Processes(), options);
    const auto first = golden::load_tensors(scratch / (std::to_string(run) + "-0.safetensors"));
    const auto second = golden::load_tensors(scratch / (std::to_string(run++) + "-1.safetensors"));
    for (const auto& [name, values] : first) EXPECT_TRUE(mx::array_equal(values, second.at(name)).item<bool>()) << name;
    for (size_t i = 0; i < found.size(); ++i) {
      EXPECT_NEAR(mx::take(first.at("found"), int(i)).item<float>(), found[i], 2e-5 * std::abs(found[i])) << i;
    }
    for (const auto& p : nn::parameters(one.model)) {
      EXPECT_TRUE(mx::allclose(*p.array, first.at(p.name), 1e-4, 2e-5).item<bool>()) << p.name;
    }
  }
}

}  // namespace
}  // namespace m2bert::train
