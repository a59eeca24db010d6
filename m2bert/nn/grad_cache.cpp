#include "m2bert/nn/grad_cache.h"

#include <numeric>

#include "m2bert/error.h"
#include "m2bert/ops/gradients.h"

namespace m2bert::nn {

namespace {

void add(Arrays& sum, Arrays grads) {
  if (sum.empty()) {
    sum = std::move(grads);
    return;
  }
  std::vector<mx::array*> to;
  for (auto& a : sum) to.push_back(&a);
  ops::axpby(to, grads, 1, 1);
}

}  // namespace

ValueAndGrad loss_and_grad(const Arrays& embeddings, const std::function<mx::array(const Arrays&)>& loss) {
  std::vector<int> which(embeddings.size());
  std::iota(which.begin(), which.end(), 0);
  auto [value, grads] =
      mx::value_and_grad(std::function<Arrays(const Arrays&)>([&](const Arrays& in) { return Arrays{loss(in)}; }), which)(embeddings);
  auto all = grads;
  all.push_back(value[0]);
  mx::eval(all);
  return {value[0], std::move(grads)};
}

ValueAndGrad cached_value_and_grad(const std::vector<NamedArray>& params, const CachedLoss& cached, const std::function<bool()>& stop) {
  require(cached.pieces > 0, "[cached_value_and_grad] there are no pieces");
  auto stopped = [&] { return stop && stop(); };
  Arrays embeddings;
  for (int piece = 0; piece < cached.pieces; ++piece) {
    if (stopped()) return {mx::array(0.0f), {}};
    embeddings.push_back(mx::stop_gradient(cached.embed(piece)));
    mx::eval(embeddings.back());  // frees the activations
    embeddings.back().detach();
  }
  auto outer = cached.loss(embeddings);
  require(outer.grads.size() == embeddings.size(), "[cached_value_and_grad] the loss gives ", outer.grads.size(), " gradients for ",
          embeddings.size(), " pieces");
  Arrays sum;
  for (int piece = 0; piece < cached.pieces; ++piece) {
    if (stopped()) return {mx::array(0.0f), {}};
    const auto& g = outer.grads[size_t(piece)];
    auto part = value_and_grad(params, [&] {
      const auto e = cached.embed(piece);
      return mx::sum(mx::astype(e, g.dtype()) * g);
    });
    mx::eval(part.grads);
    add(sum, std::move(part.grads));
  }
  return {outer.value, std::move(sum)};
}

}  // namespace m2bert::nn
