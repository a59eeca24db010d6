// The m2bert side of bench/operations.py: runs one operation at a time on inputs from a file.
//   m2bert-bench-operations
// Prints "ready ..." and then answers requests, one a line on stdin:
//   load NAME FILE [INPUT...]   an operation of the registry, the file of its inputs, and the inputs to differentiate by
//   forward FILE                writes `output`, computed without tracing gradients
//   gradients COTANGENT FILE    writes `output`, and `gradient.INPUT` of sum(output * cotangent) for each input; COTANGENT has `cotangent`
//   run forward [N], run gradients [N]  the same without writing, N times in one evaluation; prints the seconds of one (`run gradients`
//   uses
//                               the cotangent of the last `gradients`)
//   quit
// Files are safetensors, with that extension.
// A request that fails is answered with "error: ..." and has no other effect.
#include <chrono>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bench/operations/registry.h"
#include "m2bert/memory.h"
#include "m2bert/threads.h"
#include "m2bert/version.h"

namespace m2bert::bench {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

using Tensors = std::unordered_map<std::string, mx::array>;

Tensors read(const std::string& file) {
  auto tensors = mx::load_safetensors(file).first;
  std::vector<mx::array> arrays;
  for (const auto& [name, value] : tensors) arrays.push_back(value);
  mx::eval(arrays);
  return tensors;
}

class Case {
 public:
  Case(const Registry& registry, const std::string& name, const std::string& file, std::vector<std::string> wanted)
      : wanted_(std::move(wanted)) {
    for (auto& [input, value] : read(file)) inputs_.set(input, value);
    for (const auto& input : wanted_) primals_.push_back(inputs_[input]);
    function_ = registry.make(name, inputs_);
  }

  mx::array output() const { return function_(inputs_); }

  void set_cotangent(const mx::array& cotangent) { cotangent_ = cotangent; }

  // The output and the gradients by the wanted inputs, as in a training step.
  std::vector<mx::array> gradients() const {
    require(cotangent_.has_value(), "gradients: no cotangent was given yet");
    const auto traced = [this](const std::vector<mx::array>& primals) {
      Inputs inputs = inputs_;
      for (size_t i = 0; i < wanted_.size(); ++i) inputs.set(wanted_[i], primals[i]);
      return std::vector<mx::array>{function_(inputs)};
    };
    auto [results, gradients] = mx::vjp(traced, primals_, {*cotangent_});
    results.insert(results.end(), gradients.begin(), gradients.end());
    return results;
  }

  const std::vector<std::string>& wanted() const { return wanted_; }

 private:
  std::vector<std::string> wanted_;
  Inputs inputs_;
  std::vector<mx::array> primals_;
  Function function_;
  std::optional<mx::array> cotangent_;
};

class Session {
 public:
  Session() {
    add_attention(registry_);
    add_convolution(registry_);
    add_einops(registry_);
    add_fused(registry_);
#ifdef M2BERT_CUDA_KERNELS
    add_mixer_core(registry_);
#endif
    add_monarch(registry_);
    add_padding(registry_);
  }

  std::string answer(const std::string& line) {
    std::istringstream words(line);
    std::string request;
    words >> request;
    if (request == "load") return load(words);
    require(case_.has_value(), request, ": no case is loaded");
    if (request == "forward") return forward(words);
    if (request == "gradients") return gradients(words);
    if (request == "run") return run(words);
    fail("unknown request: ", line);
  }

 private:
  std::string load(std::istream& words) {
    std::string name, file;
    words >> name >> file;
    std::vector<std::string> wanted;
    for (std::string input; words >> input;) wanted.push_back(input);
    case_.reset();  // two cases may not fit into memory together
    case_.emplace(registry_, name, file, std::move(wanted));
    return "loaded";
  }

  std::string forward(std::istream& words) const {
    std::string file;
    words >> file;
    mx::save_safetensors(file, {{"output", case_->output()}});
    return "saved";
  }

  std::string gradients(std::istream& words) {
    std::string cotangent, file;
    words >> cotangent >> file;
    case_->set_cotangent(read(cotangent).at("cotangent"));
    const auto results = case_->gradients();
    Tensors tensors = {{"output", results.front()}};
    for (size_t i = 0; i < case_->wanted().size(); ++i) tensors.emplace("gradient." + case_->wanted()[i], results[i + 1]);
    mx::save_safetensors(file, tensors);
    return "saved";
  }

  std::string run(std::istream& words) const {
    std::string what;
    int count = 1;
    words >> what;
    if (int given = 0; words >> given) count = given;
    require(what == "forward" || what == "gradients", "run ", what, ": forward or gradients is wanted");
    const double start = now();
    std::vector<mx::array> results;
    for (int i = 0; i < count; ++i) {
      const auto more = what == "forward" ? std::vector{case_->output()} : case_->gradients();
      results.insert(results.end(), more.begin(), more.end());
    }
    mx::eval(results);
    return std::to_string((now() - start) / count);
  }

  Registry registry_;
  std::optional<Case> case_;
};

void serve() {
  Session session;
  for (std::string line; std::getline(std::cin, line) && line != "quit";) {
    std::string answer;
    try {
      answer = session.answer(line);
    } catch (const std::exception& e) {
      answer = "error: " + std::string(e.what());
      for (auto& c : answer)
        if (c == '\n') c = ' ';
    }
    std::cout << answer << std::endl;
  }
}

}  // namespace
}  // namespace m2bert::bench

int main() {
  if (m2bert::mx::default_device() == m2bert::mx::Device(m2bert::mx::Device::cpu)) m2bert::keep_freed_memory();
  std::cout << "ready m2bert " << M2BERT_VERSION << ", MLX " << M2BERT_MLX_VERSION << ", " << m2bert::threads() << " threads" << std::endl;
  m2bert::bench::serve();
  return 0;
}
