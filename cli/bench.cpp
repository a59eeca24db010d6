// m2bert bench: how fast a model runs here, and where its time goes. Source: benchmark_fwd upstream.
#include <dlfcn.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <memory>

#include "cli/choice.h"
#include "cli/command.h"
#include "cli/model_option.h"
#include "m2bert/checkpoint/tensor_file.h"
#include "m2bert/error.h"
#include "m2bert/io/json.h"
#include "m2bert/io/log.h"
#include "m2bert/models/cast.h"
#include "m2bert/models/pretrained.h"
#include "m2bert/ops/profile.h"
#include "m2bert/threads.h"

namespace m2bert::cli {
namespace {

struct BenchCommand {
  ModelOption model;
  std::string what;
  std::string pooling;
  int batch_size = 32, length = 0, tokens = 0, runs = 5;
  bool profile = false;
};

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// The model of a checkpoint, or of a recipe with random weights.
models::Pretrained model_of(const ModelOption& option) {
  if (!option.model.empty() || option.config.empty()) return load_model(option);
  models::Pretrained p;
  p.config = models::read_config(option.config);
  p.model = std::make_unique<models::Model>(p.config, models::Head::embedding);
  p.model->init(0, true);
  p.max_length = p.config.max_length();
  if (!option.dtype.empty()) p.dtype = checkpoint::to_mlx_dtype(option.dtype, "--dtype");
  if (p.dtype != mx::float32) p.computes_in_float32 = models::cast_weights(*p.model, p.dtype);
  p.model->pack();
  io::info("no checkpoint: random weights for ", option.config);
  return p;
}

// The first `tokens` positions of each text are tokens, the others padding.
models::Inputs random_inputs(const models::Config& config, int batch_size, int length, int tokens) {
  auto ids =
      mx::random::randint(std::min(1000, config.vocab_size / 2), config.vocab_size, {batch_size, length}, mx::int32, mx::random::key(1));
  const auto mask = mx::astype(mx::broadcast_to(mx::less(mx::arange(length), mx::array(tokens)), ids.shape()), mx::int32);
  mx::eval(ids, mask);
  return {ids, mask, std::nullopt};
}

// The states of all tokens, or with a pooling the vectors.
double run_once(const models::Model& model, const models::Inputs& inputs, const std::string& pooling) {
  const double start = now();
  mx::eval(pooling.empty() ? model.hidden_states(inputs) : model.embedding(inputs, models::pooling_named(pooling), false));
  return now() - start;
}

// On an NVIDIA GPU, marks the work in its scope for profilers that wait for it, as `ncu --profile-from-start off` does.
class ProfilerRange {
 public:
  ProfilerRange() { call("cuProfilerStart"); }
  ~ProfilerRange() { call("cuProfilerStop"); }

 private:
  void call(const char* name) const {
    if (!driver_) return;
    mx::synchronize();
    if (auto* function = reinterpret_cast<int (*)()>(::dlsym(driver_, name))) function();
  }
  void* driver_ = mx::cu::is_available() ? ::dlopen("libcuda.so.1", RTLD_NOW) : nullptr;
};

struct Result {
  std::vector<double> seconds;  // of each run, ascending
  std::vector<ops::StageTime> stages;
  double profiled_seconds = 0;
};

Result measure(const models::Model& model, const models::Inputs& inputs, const BenchCommand& command) {
  Result result;
  for (int i = 0; i < 2; ++i) run_once(model, inputs, command.pooling);  // warm-up: fills the filter cache
  for (int i = 0; i < command.runs; ++i) result.seconds.push_back(run_once(model, inputs, command.pooling));
  std::ranges::sort(result.seconds);
  if (!command.profile) return result;
  const ProfilerRange range;
  ops::set_profiling(true);
  result.profiled_seconds = run_once(model, inputs, command.pooling);
  ops::set_profiling(false);
  result.stages = ops::profiled_stages();
  return result;
}

// Stages as shares of the elapsed time: the time of their threads over the number of threads. The rest is spent in MLX's operations or
// waiting.
std::vector<ops::StageTime> with_rest(const Result& result) {
  auto stages = result.stages;
  double rest = result.profiled_seconds;
  for (auto& s : stages) rest -= s.seconds /= threads();
  stages.push_back({"other operations, waiting", std::max(0.0, rest), 0, 0, 0});
  return stages;
}

void print_table(const Result& result) {
  std::printf("\n%-26s %9s %6s %9s %8s %8s\n", "stage", "ms", "share", "GFLOP/s", "GB/s", "calls");
  for (const auto& s : with_rest(result)) {
    std::printf("%-26s %9.2f %5.1f%%", s.name.c_str(), 1e3 * s.seconds, 100 * s.seconds / result.profiled_seconds);
    s.flops > 0 ? std::printf(" %9.1f", s.flops / s.seconds * 1e-9) : std::printf(" %9s", "");
    s.bytes > 0 ? std::printf(" %8.1f", s.bytes / s.seconds * 1e-9) : std::printf(" %8s", "");
    s.calls > 0 ? std::printf(" %8lld\n", static_cast<long long>(s.calls)) : std::printf("\n");
  }
}

io::Tree stages_tree(const Result& result) {
  io::Tree list = io::Tree::list();
  for (const auto& s : with_rest(result))
    list.push_back(io::Tree{{"stage", s.name}, {"seconds", s.seconds}, {"flops", s.flops}, {"bytes", s.bytes}, {"calls", s.calls}});
  return list;
}

void run_bench(const BenchCommand& command, const Globals& globals) {
  if (command.what.empty()) throw UsageError("say what to measure: m2bert bench forward --model MODEL");
  const models::Pretrained p = model_of(command.model);
  const int length = command.length > 0 ? command.length : p.max_length;
  require(length <= p.max_length, "--length ", length, ": this model takes at most ", p.max_length, " tokens");
  const int real = command.tokens > 0 ? command.tokens : length;
  require(real <= length, "--tokens ", real, ": the texts are padded to ", length, " (--length)");
  const Result result = measure(*p.model, random_inputs(p.config, command.batch_size, length, real), command);
  const double tokens = double(command.batch_size) * real, best = result.seconds.front(),
               median = result.seconds[result.seconds.size() / 2];
  if (globals.json) {
    io::Tree out{{"what", command.what},
                 {"batch_size", command.batch_size},
                 {"length", length},
                 {"tokens", real},
                 {"dtype", checkpoint::dtype_name(p.dtype)},
                 {"threads", threads()},
                 {"tokens_per_second", tokens / best},
                 {"best_seconds", best},
                 {"median_seconds", median}};
    if (command.profile) out.set("stages", stages_tree(result));
    std::cout << io::to_json(out) << "\n";
    return;
  }
  std::printf("%d x %d tokens%s, %s, %d threads: %.0f tokens/s (best of %d runs %.1f ms, median %.1f ms)\n", command.batch_size, real,
              real < length ? (" padded to " + std::to_string(length)).c_str() : "", checkpoint::dtype_name(p.dtype).c_str(), threads(),
              tokens / best, command.runs, 1e3 * best, 1e3 * median);
  if (command.profile) print_table(result);
}

}  // namespace

Run bench_command(CLI::App& app, const Globals& globals) {
  const auto command = std::make_shared<BenchCommand>();
  command->model.takes_text = false;
  add_choice(app, "what", command->what, {"forward"}, "forward: the encoder's forward pass over random tokens");
  add_model_options(app, command->model);
  add_number(app, "--batch-size", command->batch_size, 1, 1 << 16, "Texts")->capture_default_str();
  add_number(app, "--length", command->length, 1, 1 << 24, "Tokens per text (default: the model's maximum)");
  add_number(app, "--tokens", command->tokens, 1, 1 << 24, "Tokens per text that are no padding (default: all of --length)");
  app.add_option("--pooling", command->pooling,
                 "Measure vectors instead of the states of all tokens: pooler, cls, mean or another\n"
                 "pooling of m2bert embed");
  add_number(app, "--runs", command->runs, 1, 1 << 16, "Timed runs, after two to warm up; the best counts")->capture_default_str();
  app.add_flag("--profile", command->profile,
               "Show milliseconds, GFLOP/s and GB/s of each stage (CPU), or mark\n"
               "a pass for ncu --profile-from-start off (NVIDIA GPU)");
  return [command, &globals] { run_bench(*command, globals); };
}

}  // namespace m2bert::cli
