#pragma once
// The gradient of a loss on the embeddings of a large batch, in the memory of one piece of it.
#include <functional>
#include <vector>

#include "m2bert/nn/module.h"

namespace m2bert::nn {

// A loss that needs the embeddings of the whole batch, such as one with in-batch negatives.
struct CachedLoss {
  int pieces = 0;
  // The embeddings of a piece, differentiable in the parameters. Called twice a piece, and must give the same values both times: dropout
  // with the same key.
  std::function<mx::array(int piece)> embed;
  // The loss and its gradient with respect to the embeddings of each piece, which have no graph.
  std::function<ValueAndGrad(const Arrays& embeddings)> loss;
};

// The value of the loss and its gradient with respect to params, equal to that of loss(embed(0), embed(1), ...) computed at once, but for
// rounding. First all embeddings are computed without a graph; then each piece again with one, with the loss's gradient for its embeddings.
// stop: asked between the pieces; true: gives up, and the result has no grads.
// Source: Gao et al. 2021, Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup (GradCache).
ValueAndGrad cached_value_and_grad(const std::vector<NamedArray>& params, const CachedLoss& loss, const std::function<bool()>& stop = {});

// The value of loss(embeddings) and its gradient with respect to each of them, evaluated.
ValueAndGrad loss_and_grad(const Arrays& embeddings, const std::function<mx::array(const Arrays&)>& loss);

}  // namespace m2bert::nn
