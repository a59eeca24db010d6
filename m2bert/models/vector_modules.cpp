#include "m2bert/models/vector_modules.h"

#include <map>
#include <optional>

#include "m2bert/checkpoint/tensor_file.h"
#include "m2bert/error.h"
#include "m2bert/models/heads.h"
#include "m2bert/models/packed/head.h"
#include "m2bert/ops/activation.h"
#include "m2bert/ops/layer_norm.h"

namespace m2bert::models {
namespace {

using checkpoint::VectorModule;
using Activation = std::function<mx::array(const mx::array&)>;

// A tensor of a module's file as float32.
mx::array read_weight(checkpoint::TensorFile& file, const VectorModule& module, const std::string& name, const mx::Shape& shape) {
  const checkpoint::TensorInfo* info = file.find(name);
  require(info != nullptr, module.weights.string(), ": has no tensor ", name);
  const mx::array weight = mx::astype(file.read(*info), mx::float32);
  const bool fits = weight.ndim() == shape.size() && (shape.back() < 0 || weight.shape() == shape);
  require(fits, module.weights.string(), ": ", name, " has shape ", weight.shape(), ", wants ", shape);
  return weight;
}

// By the names of torch.nn's classes, with their default arguments.
Activation activation_of(const VectorModule& module) {
  static const std::map<std::string, Activation> activations = {
      {"Identity", [](const mx::array& x) { return x; }},
      {"Tanh", [](const mx::array& x) { return mx::tanh(x); }},
      {"ReLU", [](const mx::array& x) { return mx::maximum(x, mx::array(0.0f)); }},
      {"ReLU6", [](const mx::array& x) { return mx::minimum(mx::maximum(x, mx::array(0.0f)), mx::array(6.0f)); }},
      {"LeakyReLU", [](const mx::array& x) { return mx::maximum(x, x * mx::array(0.01f)); }},
      {"ELU", [](const mx::array& x) { return mx::where(mx::greater(x, mx::array(0.0f)), x, mx::expm1(x)); }},
      {"GELU", [](const mx::array& x) { return ops::gelu(x); }},
      {"SiLU", [](const mx::array& x) { return x * mx::sigmoid(x); }},
      {"Sigmoid", [](const mx::array& x) { return mx::sigmoid(x); }},
  };
  const std::string& name = module.activation;
  const auto found = name.starts_with("torch.nn.") ? activations.find(name.substr(name.rfind('.') + 1)) : activations.end();
  if (found != activations.end()) return found->second;
  std::string known;
  for (const auto& [each, apply] : activations) known += (known.empty() ? "" : ", ") + each;
  fail((module.folder / "config.json").string(), ": activation_function '", name, "' is not supported; of torch.nn there are ", known);
}

// x weight^T + bias, packed if there is a kernel.
Activation linear_of(const mx::array& weight, const std::optional<mx::array>& bias) {
  const std::shared_ptr<const packed::Head> packed = packed::pack_head({ops::Weight(weight), bias});
  if (packed) return [packed](const mx::array& x) { return (*packed)(x); };
  return
      [weight = mx::transpose(weight), bias = bias.value_or(mx::array(0.0f))](const mx::array& x) { return mx::matmul(x, weight) + bias; };
}

Activation dense_of(const VectorModule& module) {
  const auto file = checkpoint::TensorFile::open(module.weights);
  const int in = module.in_features, out = module.out_features;
  std::optional<mx::array> bias;
  if (module.bias) bias = read_weight(*file, module, "linear.bias", {out});
  const Activation linear = linear_of(read_weight(*file, module, "linear.weight", {out, in}), bias);
  Activation residual = [](const mx::array& x) { return x; };
  if (module.residual && in != out) residual = linear_of(read_weight(*file, module, "residual.weight", {out, in}), std::nullopt);
  return [=, adds_input = module.residual, activation = activation_of(module)](const mx::array& x) {
    const mx::array y = activation(linear(x));
    return adds_input ? y + residual(x) : y;
  };
}

// width: becomes the size of the vectors.
Activation layer_norm_of(const VectorModule& module, int& width) {
  const auto file = checkpoint::TensorFile::open(module.weights);
  const mx::array weight = read_weight(*file, module, "norm.weight", {-1});
  const mx::array bias = read_weight(*file, module, "norm.bias", weight.shape());
  width = weight.shape(0);
  return [=](const mx::array& x) { return ops::layer_norm(x, std::nullopt, weight, bias, 1e-5f); };
}

}  // namespace

VectorModules::VectorModules(const std::vector<VectorModule>& modules) {
  for (const VectorModule& module : modules) {
    Step step{module.folder.string(), module.in_features, module.out_features, l2_normalize};
    if (module.kind == VectorModule::Kind::dense) step.apply = dense_of(module);
    if (module.kind == VectorModule::Kind::layer_norm) step.apply = layer_norm_of(module, step.in);
    steps_.push_back(std::move(step));
  }
}

mx::array VectorModules::operator()(mx::array vectors) const {
  for (const Step& step : steps_) vectors = step.apply(vectors);
  return vectors;
}

int VectorModules::width(int in) const {
  for (const Step& step : steps_) {
    require(step.in < 0 || step.in == in, step.name, ": takes vectors of ", step.in, " values, and gets ", in,
            "; choose the pooling that it was trained with");
    if (step.out >= 0) in = step.out;
  }
  return in;
}

}  // namespace m2bert::models
