// Training runs.
#include "m2bert/train/run.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <condition_variable>
#include <csignal>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "m2bert/error.h"
#include "m2bert/io/host_interrupt.h"
#include "m2bert/io/log.h"
#include "m2bert/io/yaml.h"
#include "m2bert/memory.h"
#include "m2bert/mx.h"
#include "m2bert/train/recipe.h"
#include "m2bert/train/retrieval_run.h"
#include "python/bindings/bind.h"
#include "python/bindings/runtime.h"

namespace m2bert::python {
namespace {

// Interrupts the training once `stop` says so, for its lifetime; then the next run can begin.
class Interrupter {
 public:
  explicit Interrupter(const Stop& stop) : thread_([this, &stop] { watch(stop); }) {}
  ~Interrupter() {
    {
      const std::lock_guard lock(mutex_);
      done_ = true;
    }
    changed_.notify_one();
    thread_.join();
    io::clear_interrupt();
  }
  Interrupter(const Interrupter&) = delete;
  Interrupter& operator=(const Interrupter&) = delete;

 private:
  void watch(const Stop& stop) {
    std::unique_lock lock(mutex_);
    while (!done_) {
      if (stop()) io::interrupt(SIGINT);
      changed_.wait_for(lock, std::chrono::milliseconds(50));
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  std::thread thread_;
};

// Shows only warnings for its lifetime.
class Quiet {
 public:
  explicit Quiet(bool quiet) : before_(io::quiet()) { io::set_quiet(before_ || quiet); }
  ~Quiet() { io::set_quiet(before_); }
  Quiet(const Quiet&) = delete;
  Quiet& operator=(const Quiet&) = delete;

 private:
  bool before_;
};

nb::dict dict_of(const train::Record& record) {
  nb::dict dict;
  dict["batch"] = record.time.batch;
  dict["epoch"] = record.time.epoch;
  dict["sample"] = record.time.sample;
  dict["token"] = record.time.token;
  for (const auto& [name, value] : record.values) dict[name.c_str()] = value;
  return dict;
}

// Calls Python with each record. True as its result, or an error, ends the training.
class Callback {
 public:
  explicit Callback(nb::object function) : function_(std::move(function)) {}

  void operator()(const train::Record& record) {
    if (function_.is_none() || error_) return;
    const nb::gil_scoped_acquire gil;
    try {
      if (nb::bool_(function_(dict_of(record)))) io::interrupt(SIGINT);
    } catch (const nb::python_error&) {
      error_ = std::current_exception();
      io::interrupt(SIGINT);
    }
  }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  nb::object function_;
  std::exception_ptr error_;
};

struct Source {
  std::string text, name;
  std::vector<std::string> overrides;
  bool retrieval, allow_unknown;
};

train::Recipe recipe_of(const Source& source) {
  const nb::gil_scoped_release released;
  const train::RecipeOptions options{.allow_unknown = source.allow_unknown};
  if (!source.retrieval) return train::parse_recipe(source.text, source.name, source.overrides, options);
  const auto tree = train::complete_retrieval_recipe(io::parse_yaml(source.text, source.name, source.overrides));
  return train::read_recipe(tree, source.text, source.name, source.overrides, options);
}

train::RunResult run(const train::Recipe& recipe, bool retrieval, const std::function<void(const train::Record&)>& on_record) {
  if (mx::default_device() == mx::Device(mx::Device::cpu)) keep_freed_buffers();
  std::optional<train::RetrievalRun> data;
  std::unique_ptr<tasks::Task> task;
  train::RunHooks hooks;
  if (retrieval) {
    data.emplace(recipe);
    task = data->task();
    hooks = data->hooks();
  } else {
    task = train::make_task(recipe);
  }
  hooks.on_record = on_record;
  return train::run(recipe, *task, train::Processes(), hooks);
}

nb::dict dict_of(const train::RunResult& result) {
  nb::dict metrics, dict;
  for (const auto& evaluation : result.evaluations)
    for (const auto& metric : evaluation.metrics) metrics[train::full_name(evaluation, metric).c_str()] = metric.value;
  dict["folder"] = result.folder.string();
  dict["model"] = result.model.empty() ? nb::none() : nb::object(nb::str(result.model.c_str()));
  dict["stopped"] = result.end == train::TrainingEnd::stopped;
  dict["parameters"] = result.parameters;
  dict["batches"] = result.time.batch;
  dict["epochs"] = result.time.epoch;
  dict["samples"] = result.time.sample;
  dict["tokens"] = result.time.token;
  dict["loss"] = result.loss;
  dict["seconds"] = result.seconds;
  dict["metrics"] = metrics;
  dict["best_batch"] = result.best ? nb::object(nb::int_(result.best->batch)) : nb::none();
  return dict;
}

nb::dict train_model(const std::string& text, const std::string& name, const std::vector<std::string>& overrides, bool retrieval,
                     bool allow_unknown, const std::optional<std::string>& device, bool verbose, nb::object callback) {
  train::Recipe recipe = recipe_of({text, name, overrides, retrieval, allow_unknown});
  if (!verbose) recipe.log.progress_bar = recipe.log.console = false;
  if (!recipe.warning.empty()) io::warn(recipe.warning);
  for (const auto& note : recipe.notes) io::warn(note);
  Callback on_record(std::move(callback));
  const std::string recipes_device = recipe.device;
  const auto where = device_named(device || recipes_device.empty() ? device : recipes_device);
  const auto result = computed(where, [&](const Stop& stop) {
    const Quiet quiet(!verbose);
    const Interrupter interrupter(stop);
    return run(recipe, retrieval, [&](const train::Record& record) { on_record(record); });
  });
  on_record.rethrow();
  return dict_of(result);
}

}  // namespace

void bind_train(nb::module_& m) {
  m.def("train", &train_model, "text"_a, "name"_a, "overrides"_a, "retrieval"_a, "allow_unknown"_a, "device"_a.none(), "verbose"_a,
        "callback"_a.none());
}

}  // namespace m2bert::python
