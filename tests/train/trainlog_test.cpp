// 30 steps of upstream (tests/golden/trainlog/README.md): loss, gradient norm and parameters from the same batches.
#include <gtest/gtest.h>

#include <algorithm>

#include "m2bert/checkpoint/match.h"
#include "m2bert/checkpoint/weights.h"
#include "m2bert/models/pretrained.h"
#include "m2bert/optim/schedule.h"
#include "m2bert/tasks/masked_lm.h"
#include "m2bert/train/step.h"
#include "tests/train/tiny_run.h"

namespace m2bert::train {
namespace {

using golden::Tensors;

std::vector<int32_t> step_of(const mx::array& all, int step) {
  auto one = mx::contiguous(mx::flatten(mx::take(all, step, 0)));
  one.eval();
  return {one.data<int32_t>(), one.data<int32_t>() + one.size()};
}

data::Batch batch_of(const Tensors& inputs, int step) {
  const auto& ids = inputs.at("input_ids");
  data::Batch batch;
  batch.rows = ids.shape(1);
  batch.length = ids.shape(2);
  batch.input_ids = step_of(ids, step);
  batch.attention_mask = step_of(inputs.at("attention_mask"), step);
  batch.labels = step_of(inputs.at("labels"), step);
  return batch;
}

// The fixture's model, optimizer and step.
struct Training {
  explicit Training(const StepOptions& options)
      : model(models::read_config(trainlog() / "config.yaml"), models::Head::masked_lm),
        optimizer(nn::parameters(model), optim::make_groups(nn::parameters(model), {3e-3, 1e-5, std::nullopt, false}),
                  {optim::WeightDecay::decoupled, 0.9, 0.98, 1e-6}),
        step(model, task, optimizer, processes, options) {
    checkpoint::match(model, checkpoint::load_weights(trainlog() / "checkpoint.pt"), {});
  }
  models::Model model;
  optim::AdamW optimizer;
  tasks::MaskedLM task{model.config()};
  Processes processes;
  Step step;
};

StepOptions step_options(int microbatch_rows) {
  StepOptions options;
  options.clipping = {optim::ClipBy::norm, 1.0};
  options.microbatch_rows = microbatch_rows;
  return options;
}

optim::Schedule schedule() {
  const optim::RunLength length{{30, optim::TimeUnit::batch}, 0};
  return {{optim::Decay::linear, optim::parse_time("0.2dur", "t"), 0.02}, length};
}

class Trainlog : public ::testing::TestWithParam<int> {};

// The same in microbatches, which change only the rounding.
TEST_P(Trainlog, LossesNormsAndParametersAreTheReferences) {
  const auto inputs = golden::load_tensors(trainlog() / "inputs.safetensors"),
             outputs = golden::load_tensors(trainlog() / "outputs.safetensors");
  const auto rate = schedule();
  Training run(step_options(GetParam()));
  ASSERT_EQ(run.optimizer.parameters().size(), golden::load_tensors(trainlog() / "params_after_1.safetensors").size());
  optim::Timestamp now;
  for (int i = 0; i < 30; ++i) {
    auto gradient = run.step.gradient(batch_of(inputs, i), i);
    ASSERT_TRUE(gradient.has_value());
    now.batch = i;
    const float loss = mx::take(outputs.at("loss"), i, 0).item<float>(), norm = mx::take(outputs.at("grad_norm"), i, 0).item<float>();
    EXPECT_NEAR(gradient->loss, loss, 1e-4 * loss) << "step " << i;
    EXPECT_NEAR(gradient->norm, norm, 2e-3 * norm) << "step " << i;
    EXPECT_NEAR(3e-3 * rate.factor(now), mx::take(outputs.at("lr"), i, 0).item<float>(), 1e-9);
    run.step.update(*gradient, rate.factor(now));
    expect_upstream_parameters(i + 1, [&](const std::string& name) {
      const auto& all = run.optimizer.parameters();
      const auto found = std::ranges::find(all, name, &nn::NamedArray::name);
      require(found != all.end(), "no parameter ", name);
      return *found->array;
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Microbatches, Trainlog, ::testing::Values(0, 4, 3));

}  // namespace
}  // namespace m2bert::train
