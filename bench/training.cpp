// The m2bert side of bench/training.py: runs whole training steps of a recipe, as `m2bert pretrain` does.
//   m2bert-bench-training RECIPE.yaml      load_path: the weights; train_loader: batches in a file, used in turn
// Prints "ready ..." and then answers requests, one a line on stdin: "run" (a step: gradient, clipping, update; prints its seconds),
// "losses" (JSON: loss and gradient norm of each step so far), "parts" (another step; JSON: seconds of gradient and update), "flops" (JSON:
// floating-point operations of the last step, and the FLOP/s of a large matmul), "memory" (peak bytes: of the process, or on a GPU of MLX's
// arrays), "quit".
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "m2bert/checkpoint/match.h"
#include "m2bert/checkpoint/weights.h"
#include "m2bert/error.h"
#include "m2bert/memory.h"
#include "m2bert/tasks/masked_lm.h"
#include "m2bert/train/model_flops.h"
#include "m2bert/train/recipe.h"
#include "m2bert/version.h"

namespace m2bert::train {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

uint64_t peak_memory() {
  if (mx::default_device() == mx::Device(mx::Device::gpu)) return mx::get_peak_memory();
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stoull(line.substr(6)) * 1024;
  }
  fail("/proc/self/status has no VmHWM: peak memory can be measured on Linux only");
}

class Bench {
 public:
  explicit Bench(const Recipe& recipe)
      : model_(recipe.model, models::Head::masked_lm),
        optimizer_(loaded(recipe), optim::make_groups(nn::parameters(model_), recipe.groups), recipe.optimizer),
        task_(recipe.model),
        step_(model_, task_, optimizer_, processes_, step_options(recipe)),
        data_(open_batches(recipe.train_loader, recipe.global_batch, {recipe.seed, 0, 1, recipe.model})) {}

  double run() {
    const auto [gradient, update] = step();
    return gradient + update;
  }

  std::string parts() {
    const auto [gradient, update] = step();
    std::ostringstream text;
    text << "{\"gradient\": " << gradient << ", \"update\": " << update << "}";
    return text.str();
  }

  std::string flops() {
    std::ostringstream text;
    text << "{\"operations\": " << operations_ << ", \"peak\": " << measured_peak_flops(step_.options().compute) << "}";
    return text.str();
  }

  std::string losses() const {
    std::ostringstream text;
    text.precision(9);
    const char* mark = "[";
    for (const auto& [loss, norm] : losses_) text << std::exchange(mark, ", ") << "[" << loss << ", " << norm << "]";
    text << "]";
    return text.str();
  }

 private:
  // Seconds of the gradient, and of clipping and the update.
  std::pair<double, double> step() {
    const double start = now();
    if (!started_) start_next();
    const int rows = batch_.rows, length = batch_.length;
    auto started = *std::exchange(started_, std::nullopt);
    double update = 0;
    auto timed_update = [&](auto& gradient) {
      update -= now();
      step_.update(gradient, 1);
      update += now();
    };
    if (started.is_deferred()) {
      timed_update(started);
      start_next();
    }
    auto gradient = step_.finish(std::move(started));
    if (!gradient.updated) timed_update(gradient);
    const double end = now();
    losses_.emplace_back(gradient.loss, gradient.norm);
    operations_ = training_flops(model_.config(), rows, length, task_.head_flops(gradient.weight));
    return {end - start - update, update};
  }

  std::vector<nn::NamedArray> loaded(const Recipe& recipe) {
    model_.init(recipe.seed, recipe.independent_layers);
    checkpoint::match(model_, checkpoint::load_weights(recipe.save.load_path), {.source = recipe.save.load_path});
    return nn::parameters(model_);
  }

  void start_next() {
    batch_ = ahead_ ? *std::exchange(ahead_, std::nullopt) : next();
    ahead_ = next();
    started_ = step_.start(batch_, number_++, [this](int) { return &*ahead_; });
  }

  data::Batch next() {
    auto batch = data_.source().next();
    if (!batch) {
      data_.source().seek({0, 0});
      batch = data_.source().next();
    }
    return *batch;
  }

  models::Model model_;
  optim::AdamW optimizer_;
  Processes processes_;
  tasks::MaskedLM task_;
  Step step_;
  BatchStream data_;
  data::Batch batch_;                       // of started_
  std::optional<data::Batch> ahead_;        // the next batch, which a run knows before its turn
  std::optional<StartedGradient> started_;  // of the next step
  int64_t number_ = 0;
  double operations_ = 0;
  std::vector<std::pair<double, double>> losses_;
};

int serve(Bench& bench) {
  std::string line;
  while (std::getline(std::cin, line) && line != "quit") {
    if (line == "run") std::cout << bench.run() << std::endl;
    else if (line == "losses") std::cout << bench.losses() << std::endl;
    else if (line == "parts") std::cout << bench.parts() << std::endl;
    else if (line == "flops") std::cout << bench.flops() << std::endl;
    else if (line == "memory") std::cout << peak_memory() << std::endl;
    else fail("unknown request: ", line);
  }
  return 0;
}

}  // namespace
}  // namespace m2bert::train

int main(int count, char** arguments) {
  try {
    if (m2bert::mx::default_device() == m2bert::mx::Device(m2bert::mx::Device::cpu)) m2bert::keep_freed_memory();
    m2bert::require(count == 2, "usage: m2bert-bench-training RECIPE.yaml");
    m2bert::train::Bench bench(m2bert::train::read_recipe(arguments[1]));
    std::cout << "ready m2bert " << M2BERT_VERSION << ", MLX " << M2BERT_MLX_VERSION << std::endl;
    return m2bert::train::serve(bench);
  } catch (const std::exception& e) {
    std::cerr << "error: " << e.what() << "\n";
    return 1;
  }
}
