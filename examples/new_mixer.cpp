// A new sequence mixer, trained from scratch on a toy task: predict the token five positions earlier.
#include <cmath>
#include <iostream>

#include "m2bert/nn/embedding.h"
#include "m2bert/nn/linear.h"
#include "m2bert/nn/loss.h"
#include "m2bert/ops/long_conv.h"

namespace mx = m2bert::mx;
namespace nn = m2bert::nn;
namespace ops = m2bert::ops;

constexpr int kTokens = 8, kWidth = 32, kLength = 64, kBatch = 16, kDelay = 5, kSteps = 100;

// y = out(sigmoid(gate(x)) * conv(value(x))), with a causal convolution whose learned filter is as long as the sequence.
// The members are the parameters, and visit() names them: training, loading, saving and counting need nothing else.
struct GatedLongConv : nn::Module {
  explicit GatedLongConv(nn::KeySequence& keys) : filter(nn::normal({kLength, kWidth}, 0.1f, keys)) {
    for (nn::Linear* linear : {&gate, &value, &out}) linear->init_uniform(keys);
  }
  mx::array operator()(const mx::array& x_bld) const {
    return out(mx::sigmoid(gate(x_bld)) * ops::long_conv(value(x_bld), filter, std::nullopt, skip));
  }
  void visit(nn::Visitor& v) override { v("gate", gate), v("value", value), v("out", out), v("filter", filter), v("skip", skip); }

  nn::Linear gate{kWidth, kWidth}, value{kWidth, kWidth}, out{kWidth, kWidth};
  mx::array filter, skip = mx::zeros({kWidth});
};

// The mixer between an embedding and a token classifier.
struct Echo : nn::Module {
  explicit Echo(nn::KeySequence& keys) : mixer(keys) { embedding.init_normal(1, keys), classifier.init_uniform(keys); }
  mx::array operator()(const mx::array& ids_bl) const { return classifier(mixer(embedding(ids_bl))); }  // [B, L, kTokens]
  void visit(nn::Visitor& v) override { v("embedding", embedding), v("mixer", mixer), v("classifier", classifier); }

  nn::Embedding embedding{kTokens, kWidth};
  GatedLongConv mixer;
  nn::Linear classifier{kWidth, kTokens};
};

// Adam (Kingma and Ba 2015), in place on a model's parameters.
struct Adam {
  std::vector<nn::NamedArray> params;
  float rate;
  nn::Arrays m = {}, v = {};
  int steps = 0;

  void update(const nn::Arrays& grads) {
    ++steps;
    const float corrected = rate * std::sqrt(1 - std::pow(0.999f, steps)) / (1 - std::pow(0.9f, steps));
    for (size_t i = 0; i < params.size(); ++i) {
      if (steps == 1) m.push_back(mx::zeros_like(grads[i])), v.push_back(mx::zeros_like(grads[i]));
      m[i] = 0.9f * m[i] + 0.1f * grads[i];
      v[i] = 0.999f * v[i] + 0.001f * mx::square(grads[i]);
      *params[i].array = *params[i].array - corrected * m[i] / (mx::sqrt(v[i]) + 1e-8f);
      mx::eval(*params[i].array, m[i], v[i]);
    }
  }
};

int main() {
  nn::KeySequence keys(7);
  Echo model(keys);
  Adam adam{nn::parameters(model), 0.003f};
  std::cout << nn::count_parameters(model) << " parameters; a blind guess has loss " << std::log(kTokens) << "\n";
  for (int step = 0; step <= kSteps; ++step) {
    const mx::array ids = mx::random::randint(0, kTokens, {kBatch, kLength}, mx::int32, keys.next());
    const mx::array before = mx::slice(ids, {0, 0}, {kBatch, kLength - kDelay});
    auto [loss, grads] = nn::value_and_grad(adam.params, [&] {
      const mx::array logits = mx::slice(model(ids), {0, kDelay, 0}, {kBatch, kLength, kTokens});
      return nn::cross_entropy(mx::reshape(logits, {-1, kTokens}), mx::flatten(before));
    });
    adam.update(grads);
    if (step % 20 == 0) std::cout << "step " << step << "  loss " << loss.item<float>() << std::endl;
  }
}
