// How far a model's vectors in bfloat16 and int8 are from its float32 vectors: prints 1 - cosine, the largest and the mean over sequences.
//   m2bert-model-precision [--native] RECIPE [SEQUENCES [LENGTH]]
// The weights are random, drawn as in upstream. Sequences of 4, 8, 12 ... tokens are padded to LENGTH, by default the model's. Without
// --native the figures are those of a processor that multiplies bfloat16 and int8 matrices, whatever processor this is; they take longer.
#include <iomanip>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "m2bert/checkpoint/quantize.h"
#include "m2bert/error.h"
#include "m2bert/models/cast.h"
#include "m2bert/models/heads.h"
#include "m2bert/models/pretrained.h"
#include "m2bert/nn/module.h"

namespace m2bert {
namespace {

models::Inputs inputs(int sequences, int length) {
  const auto at = mx::reshape(mx::arange(0, length, 1, mx::int32), {1, length});
  const auto lengths = mx::reshape(mx::arange(1, sequences + 1, 1, mx::int32) * mx::array(4), {sequences, 1});
  const auto mask = mx::astype(mx::less(at, lengths), mx::int32);
  return {mx::random::randint(1000, 30000, {sequences, length}, mx::int32, mx::random::key(5)) * mask, mask, std::nullopt};
}

// Vectors of length 1, one sequence at a time, because the intermediate values of a long one are large.
mx::array vectors(const models::Model& model, const models::Inputs& all) {
  std::vector<mx::array> rows;
  for (int i = 0; i < all.input_ids.shape(0); ++i) {
    auto row = [&](const mx::array& a) { return mx::slice(a, {i, 0}, {i + 1, a.shape(1)}); };
    const models::Inputs one{row(all.input_ids), row(all.attention_mask), std::nullopt};
    rows.push_back(mx::astype(model.embedding(one, model.default_pooling(), true), mx::float32));
    rows.back().eval();
  }
  return mx::concatenate(rows, 0);
}

// Megabytes of the weights in a file of this dtype.
double megabytes(models::Model& model, mx::Dtype dtype) {
  checkpoint::TensorMap weights;
  if (dtype == mx::bfloat16) models::cast_weights(model, dtype, {true, true});
  for (const auto& a : nn::named_arrays(model)) {
    if (a.role != nn::Role::alias) weights.emplace_back(a.name, *a.array);
  }
  if (dtype == mx::int8) weights = checkpoint::quantize(weights);
  size_t bytes = 0;
  for (const auto& [name, a] : weights) bytes += a.nbytes();
  return double(bytes) / 1e6;
}

void print_row(const char* dtype, const mx::array& exact, const mx::array& found, double megabytes) {
  const auto distance = mx::array(1.0f) - mx::sum(exact * found, 1);
  std::cout << "| `" << dtype << "` | " << std::scientific << std::setprecision(1) << mx::max(distance).item<float>() << " | "
            << mx::mean(distance).item<float>() << " | " << std::fixed << megabytes << " |" << std::endl;
}

void run(std::vector<std::string> arguments) {
  const bool native = !arguments.empty() && arguments[0] == "--native";
  if (native) arguments.erase(arguments.begin());
  require(!arguments.empty(), "usage: m2bert-model-precision [--native] RECIPE [SEQUENCES [LENGTH]]");
  const auto config = models::read_config(arguments[0]);
  const auto all =
      inputs(arguments.size() > 1 ? std::stoi(arguments[1]) : 8, arguments.size() > 2 ? std::stoi(arguments[2]) : config.max_length());
  auto make = [&] {
    auto model = std::make_unique<models::Model>(config, models::Head::embedding);
    model->init(3);
    return model;
  };
  auto vectors_in = [&](mx::Dtype dtype) {
    const auto model = make();
    if (dtype != mx::float32) models::cast_weights(*model, dtype, native ? models::narrow_gemms() : models::NarrowGemms{true, true});
    if (native || dtype == mx::float32) model->pack();
    return vectors(*model, all);
  };
  std::cout << config.summary() << "\n\n| `--dtype` | largest 1 - cosine | mean | MB |\n| --- | --- | --- | --- |" << std::endl;
  const auto exact = vectors_in(mx::float32);
  for (const auto& [name, dtype] : {std::pair("float32", mx::float32), {"bfloat16", mx::bfloat16}, {"int8", mx::int8}})
    print_row(name, exact, dtype == mx::float32 ? exact : vectors_in(dtype), megabytes(*make(), dtype));
}

}  // namespace
}  // namespace m2bert

int main(int argc, char** argv) {
  try {
    m2bert::mx::set_default_device(m2bert::mx::Device::cpu);
    m2bert::run({argv + 1, argv + argc});
  } catch (const std::exception& e) {
    std::cerr << "error: " << e.what() << "\n";
    return 1;
  }
}
