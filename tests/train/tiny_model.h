#pragma once
// The model of tests/golden/trainlog with its weights, and what trains it.
#include "m2bert/checkpoint/match.h"
#include "m2bert/checkpoint/weights.h"
#include "m2bert/models/pretrained.h"
#include "m2bert/tasks/masked_lm.h"
#include "m2bert/train/step.h"
#include "tiny_run.h"

namespace m2bert::train {

struct TinyModel {
  explicit TinyModel(const StepOptions& options, double dropout, const Processes& joined = {})
      : model(config(dropout), models::Head::masked_lm),
        optimizer(nn::parameters(model), optim::make_groups(nn::parameters(model), {1e-3, 0, std::nullopt, false}), {}),
        processes(joined),
        step(model, task, optimizer, processes, options) {
    checkpoint::match(model, checkpoint::load_weights(trainlog() / "checkpoint.pt"), {});
  }
  static models::Config config(double dropout) {
    auto c = models::read_config(trainlog() / "config.yaml");
    c.hidden_dropout_prob = dropout;
    return c;
  }

  models::Model model;
  optim::AdamW optimizer;
  tasks::MaskedLM task{model.config()};
  Processes processes;
  Step step;
};

}  // namespace m2bert::train
