// Our side of bench/embed.py: the encoder of one model over one batch of ids.
//   m2bert-bench-embed FOLDER [--dtype float32|bfloat16]      FOLDER: config.yaml, model.safetensors, inputs.safetensors (input_ids)
// Prints "ready ..." and then answers lines on stdin: "run" (one forward pass; prints its seconds), "save FILE" (hidden states as
// safetensors), "stages" (JSON: seconds of each kind of stage, every stage evaluated on its own), "quit".
#include <chrono>
#include <filesystem>
#include <iostream>
#include <map>
#include <sstream>
#include <string>

#include "m2bert/checkpoint/match.h"
#include "m2bert/checkpoint/safetensors.h"
#include "m2bert/checkpoint/weights.h"
#include "m2bert/error.h"
#include "m2bert/io/yaml.h"
#include "m2bert/memory.h"
#include "m2bert/models/model.h"
#include "m2bert/version.h"

namespace m2bert {
namespace {

namespace fs = std::filesystem;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// What a reader calls the work that ends with a stage; empty for stages that are not on the way to the result.
std::string work(const std::string& stage) {
  static const std::map<std::string, std::string> names = {{"embeddings", "embeddings"},     {"mixer.u_norm", "input norm"},
                                                           {"mixer.in_linear", "in_linear"}, {"mixer.pre_out", "convolutions and gates"},
                                                           {"mixer", "out_linear"},          {"mlp.gated_layers", "MLP first product"},
                                                           {"mlp.act", "GELU and gate"},     {"mlp.wo", "MLP second product"},
                                                           {"out", "MLP residual and norm"}, {"mixer.qkv", "Wqkv"},
                                                           {"mixer.context", "attention"}};
  const auto inner = stage.starts_with("layer.") ? stage.substr(stage.find('.', 6) + 1) : stage;
  const auto found = names.find(inner);
  return found == names.end() ? "" : found->second;
}

class Bench {
 public:
  Bench(const fs::path& folder, mx::Dtype dtype)
      : model_(models::Config::from_tree(io::read_yaml(folder / "config.yaml")), models::Head::masked_lm), batch_(read_ids(folder)) {
    checkpoint::match(model_, checkpoint::load_weights(folder / "model.safetensors"), {.source = "model.safetensors"});
    std::vector<mx::array> arrays;
    for (const auto& named : nn::named_arrays(model_)) {
      if (mx::issubdtype(named.array->dtype(), mx::floating)) *named.array = mx::astype(*named.array, dtype);
      arrays.push_back(*named.array);
    }
    mx::eval(arrays);
  }

  mx::array forward() const { return model_.hidden_states(batch_); }

  double run() const {
    const double start = now();
    auto states = forward();
    mx::eval(states);
    return now() - start;
  }

  void save(const fs::path& file) const { checkpoint::save_safetensors(file, {{"sequence_output", mx::astype(forward(), mx::float32)}}); }

  std::map<std::string, double> stages() const {
    std::map<std::string, double> seconds;
    nn::Pass pass;
    pass.inner_stages = false;  // the way that is timed
    double last = now();
    pass.on_stage = [&](const std::string& stage, const mx::array& x) {
      const auto name = work(stage);
      if (name.empty()) return x;
      auto value = x;
      mx::eval(value);
      const double at = now();
      seconds[name] += at - last;
      last = at;
      return value;
    };
    auto states = model_.hidden_states(batch_, pass);
    mx::eval(states);
    return seconds;
  }

 private:
  static models::Batch read_ids(const fs::path& folder) {
    auto file = checkpoint::TensorFile::open(folder / "inputs.safetensors");
    const auto* tensor = file->find("input_ids");
    require(tensor != nullptr, "inputs.safetensors has no input_ids");
    auto ids = mx::astype(file->read(*tensor), mx::int32);
    return {ids, mx::ones_like(ids), std::nullopt};
  }

  models::Model model_;
  models::Batch batch_;
};

std::string to_json(const std::map<std::string, double>& seconds) {
  std::ostringstream text;
  const char* mark = "{";
  for (const auto& [name, value] : seconds) {
    text << mark << '"' << name << "\": " << value;
    mark = ", ";
  }
  text << "}";
  return text.str();
}

int serve(const Bench& bench) {
  std::string line;
  while (std::getline(std::cin, line) && line != "quit") {
    if (line == "run") std::cout << bench.run() << std::endl;
    else if (line == "stages") std::cout << to_json(bench.stages()) << std::endl;
    else if (line.starts_with("save ")) bench.save(line.substr(5)), std::cout << "saved" << std::endl;
    else fail("unknown request: ", line);
  }
  return 0;
}

}  // namespace
}  // namespace m2bert

int main(int count, char** arguments) {
  try {
    m2bert::keep_freed_memory();
    m2bert::require(count >= 2, "usage: m2bert-bench-embed FOLDER [--dtype float32|bfloat16]");
    const bool half = count >= 4 && std::string(arguments[3]) == "bfloat16";
    const m2bert::Bench bench(arguments[1], half ? m2bert::mx::bfloat16 : m2bert::mx::float32);
    std::cout << "ready m2bert " << M2BERT_VERSION << ", MLX " << M2BERT_MLX_VERSION << ", " << (half ? "bfloat16" : "float32")
              << std::endl;
    return m2bert::serve(bench);
  } catch (const std::exception& e) {
    std::cerr << "error: " << e.what() << "\n";
    return 1;
  }
}
