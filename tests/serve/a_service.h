#pragma once
// A service over tiny models, and a caller that waits.
#include <gtest/gtest.h>

#include <future>
#include <limits>
#include <memory>

#include "m2bert/checkpoint/safetensors.h"
#include "m2bert/checkpoint/weights.h"
#include "m2bert/serve/service.h"
#include "tests/support/scratch.h"
#include "tests/support/tiny_models.h"

namespace m2bert::serve {

using test::sentence;
using test::tiny_models;

class TestCaller : public Caller {
 public:
  void fail(std::exception_ptr error) override { failure.set_value(error); }
  bool gone() const override { return is_gone; }
  std::promise<std::exception_ptr> failure;
  std::atomic<bool> is_gone{false};
};

// Writes a model whose states are all NaN.
inline std::string with_nan_states(const test::Scratch& scratch) {
  const std::string folder = test::write_folder((scratch / "nan").string(), test::tiny_bert_config(), models::Head::embedding);
  checkpoint::TensorMap weights = checkpoint::load_weights(folder);
  for (auto& [name, array] : weights)
    if (name.ends_with("embeddings.LayerNorm.bias")) array = mx::full(array.shape(), std::numeric_limits<float>::quiet_NaN());
  checkpoint::save_safetensors(folder + "/model.safetensors", weights);
  return folder;
}

inline std::vector<Input> inputs_of_texts(const std::vector<std::string>& texts) {
  std::vector<Input> inputs;
  for (const std::string& text : texts) inputs.push_back({text, std::nullopt, {}, false});
  return inputs;
}

struct AService {
  explicit AService(EngineOptions engine_options = {}, ServiceOptions options = {})
      : workers(2), engine(engine_options), service(options, engine, workers, metrics) {}

  const ServedModel& add(const std::string& folder, const std::string& name = "tiny", const infer::EmbedOptions& options = {}) {
    engine.run([&] {
      models::Pretrained pretrained = models::load_pretrained(folder);
      const TaskChoice task = choose_task(pretrained);
      service.add(std::make_unique<ServedModel>(name, std::move(pretrained), task, options));
    });
    return service.model(name);
  }

  // The result, or the exception.
  Vectors embed(const ServedModel& model, const std::vector<std::string>& texts, const TextSettings& settings = {},
                std::optional<bool> normalize = std::nullopt, std::optional<int> dimensions = std::nullopt) {
    const auto caller = std::make_shared<TestCaller>();
    std::promise<Vectors> result;
    service.embed(caller, model, inputs_of_texts(texts), settings, normalize, dimensions,
                  [&](Vectors&& vectors) { result.set_value(std::move(vectors)); });
    return wait(result, *caller);
  }

  template <class Result>
  static Result wait(std::promise<Result>& result, TestCaller& caller) {
    auto done = result.get_future();
    auto failed = caller.failure.get_future();
    for (int i = 0; i < 60000; ++i) {
      if (done.wait_for(std::chrono::milliseconds(1)) == std::future_status::ready) return done.get();
      if (failed.wait_for(std::chrono::milliseconds(0)) == std::future_status::ready) std::rethrow_exception(failed.get());
    }
    throw std::runtime_error("no answer within a minute");
  }

  Workers workers;
  Engine engine;
  Metrics metrics;
  Service service;
};

// The kind of ApiError that call() throws.
template <class Function>
ErrorKind kind_of(Function call, std::string* message = nullptr) {
  try {
    call();
  } catch (const ApiError& error) {
    if (message) *message = error.what();
    return error.kind;
  }
  ADD_FAILURE() << "threw no ApiError";
  return ErrorKind::internal;
}

}  // namespace m2bert::serve
