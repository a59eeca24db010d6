// One step on upstream's fixtures of fine-tuning: loss, gradient and update are PyTorch's.
#include <gtest/gtest.h>

#include <cmath>

#include "m2bert/checkpoint/match.h"
#include "m2bert/checkpoint/weights.h"
#include "m2bert/models/pretrained.h"
#include "m2bert/tasks/classification.h"
#include "m2bert/train/step.h"
#include "tests/support/paths.h"
#include "tests/train/tiny_run.h"

namespace m2bert::train {
namespace {

std::vector<int32_t> integers(const mx::array& values) {
  auto flat = mx::contiguous(mx::flatten(mx::astype(values, mx::int32)));
  flat.eval();
  return {flat.data<int32_t>(), flat.data<int32_t>() + flat.size()};
}

std::vector<float> floats(const mx::array& values) {
  auto flat = mx::contiguous(mx::flatten(mx::astype(values, mx::float32)));
  flat.eval();
  return {flat.data<float>(), flat.data<float>() + flat.size()};
}

data::Batch batch_of(const golden::Tensors& inputs, bool regression) {
  data::Batch batch;
  batch.rows = inputs.at("input_ids").shape(0);
  batch.length = inputs.at("input_ids").shape(1);
  batch.input_ids = integers(inputs.at("input_ids"));
  batch.attention_mask = integers(inputs.at("attention_mask"));
  batch.token_type_ids = integers(inputs.at("token_type_ids"));
  if (regression) batch.targets = floats(inputs.at("labels"));
  else batch.labels = integers(inputs.at("labels"));
  return batch;
}

// AdamW's first step with upstream's betas and eps: the moments' bias corrections leave the gradient and its size.
// Source: torch.optim.AdamW (coupled decay).
float updated(float weight, float gradient, double lr, double decay) {
  return static_cast<float>(weight * (1 - lr * decay) - lr * gradient / (std::abs(static_cast<double>(gradient)) + 1e-6));
}

class GlueStep : public ::testing::TestWithParam<std::pair<const char*, int>> {};

TEST_P(GlueStep, IsPyTorchs) {
  const auto [name, labels] = GetParam();
  const auto folder = test::shared_dir() / "fixtures" / name;
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "upstream's fixtures are not beside this checkout: " << folder;
  const auto inputs = golden::load_tensors(folder / "inputs.safetensors"), outputs = golden::load_tensors(folder / "outputs.safetensors");
  auto config = models::read_config(folder / "config.yaml");
  config.num_labels = labels;
  models::Model model(config, models::Head::classification);
  checkpoint::match(model, checkpoint::load_weights(folder / "checkpoint.pt"), {});
  constexpr double kRate = 1e-3, kDecay = 0.01;
  const tasks::Classification task(config);
  optim::AdamW optimizer(nn::parameters(model), optim::make_groups(nn::parameters(model), {kRate, kDecay, std::nullopt, false}),
                         {optim::WeightDecay::by_learning_rate, 0.9, 0.98, 1e-6});
  Processes processes;
  StepOptions options;
  options.microbatch_rows = 2;
  Step step(model, task, optimizer, processes, options);
  auto gradient = step.gradient(batch_of(inputs, labels == 1), 0);
  ASSERT_TRUE(gradient.has_value());
  const float loss = outputs.at("loss").item<float>();
  EXPECT_NEAR(gradient->loss, loss, 1e-5 * std::abs(loss));

  const auto& parameters = optimizer.parameters();
  std::vector<std::vector<float>> weights, expected;
  size_t compared = 0;
  for (size_t i = 0; i < parameters.size(); ++i) {
    weights.push_back(floats(*parameters[i].array));
    const auto found = outputs.find("grad." + parameters[i].name);
    expected.push_back(found == outputs.end() ? std::vector<float>() : floats(found->second));
    if (expected.back().empty()) continue;
    ++compared;
    const auto own = floats(gradient->arrays[i]);
    float largest = 0;
    for (const float value : expected.back()) largest = std::max(largest, std::abs(value));
    for (size_t j = 0; j < own.size(); ++j)
      ASSERT_NEAR(own[j], expected.back()[j], 2e-4 * largest + 1e-7) << parameters[i].name << " " << j;
  }
  EXPECT_GT(compared, 40u);

  step.update(*gradient, 1.0);
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (expected[i].empty()) continue;
    const auto after = floats(*parameters[i].array);
    float largest = 0;
    for (const float value : expected[i]) largest = std::max(largest, std::abs(value));
    for (size_t j = 0; j < after.size(); ++j) {
      if (std::abs(expected[i][j]) < std::max(1e-5F, 1e-3F * largest))
        continue;  // the first step has the sign of the gradient: here rounding
      ASSERT_NEAR(after[j], updated(weights[i][j], expected[i][j], kRate, kDecay), 0.02 * kRate) << parameters[i].name << " " << j;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, GlueStep, ::testing::Values(std::pair("tiny-glue-1", 1), std::pair("tiny-glue-3", 3)),
                         [](const auto& info) { return info.param.second == 1 ? "regression" : "three_labels"; });

}  // namespace
}  // namespace m2bert::train
