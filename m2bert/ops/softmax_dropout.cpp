#include "m2bert/ops/softmax_dropout.h"

#include "m2bert/error.h"
#include "m2bert/ops/dropout.h"

namespace m2bert::ops {

namespace {

using Arrays = std::vector<mx::array>;

void check(const mx::array& x, float p, const std::optional<mx::array>& mask) {
  require(x.ndim() == 4, "[fused_softmax_dropout] x has shape ", x.shape(), ", wants [B, heads, Lq, Lk]");
  require(mx::issubdtype(x.dtype(), mx::floating), "[fused_softmax_dropout] x is ", x.dtype(), ", wants floating point");
  require(p >= 0 && p < 1, "[fused_softmax_dropout] p is ", p, ", wants 0 <= p < 1");
  if (!mask) return;
  const int B = x.shape(0), Lk = x.shape(3);
  require(mask->shape() == mx::Shape({B, 1, 1, Lk}) || mask->shape() == mx::Shape({B, Lk}), "[fused_softmax_dropout] mask has shape ",
          mask->shape(), ", wants [", B, ", 1, 1, ", Lk, "] or [", B, ", ", Lk, "]");
  require(mx::issubdtype(mask->dtype(), mx::floating), "[fused_softmax_dropout] mask is ", mask->dtype(),
          ", wants floating point: it is added");
}

// The masked scores in float32; mask may be [B, 1, 1, Lk].
mx::array masked(const mx::array& x, const std::optional<mx::array>& mask, mx::StreamOrDevice s) {
  auto scores = mx::astype(x, mx::float32, s);
  if (!mask) return scores;
  return mx::add(scores, mx::reshape(mx::astype(*mask, mx::float32, s), {x.shape(0), 1, 1, x.shape(3)}, s), s);
}

mx::array softmax(const mx::array& scores, mx::StreamOrDevice s) { return scores.size() == 0 ? scores : mx::softmax(scores, -1, true, s); }

mx::array drop(const mx::array& probabilities, const std::optional<mx::array>& kept, float p, mx::StreamOrDevice s) {
  if (!kept) return probabilities;
  return mx::where(*kept, mx::multiply(probabilities, mx::array(1 / (1 - p)), s), mx::array(0.0f), s);
}

}  // namespace

mx::array fused_softmax_dropout_fallback(const mx::array& x, float p, const std::optional<mx::array>& mask,
                                         const std::optional<mx::array>& key, mx::StreamOrDevice s) {
  check(x, p, mask);
  std::optional<mx::array> kept;
  if (key && p > 0) kept = dropout_kept(x.shape(), p, *key, s);
  return mx::astype(drop(softmax(masked(x, mask, s), s), kept, p, s), x.dtype(), s);
}

SoftmaxDropout fused_softmax_dropout_with_mask(const mx::array& x, float p, const std::optional<mx::array>& mask,
                                               const std::optional<mx::array>& key, mx::StreamOrDevice s) {
  check(x, p, mask);
  std::optional<mx::array> kept;
  if (key && p > 0) kept = dropout_kept(x.shape(), p, *key, s);
  auto probabilities = [=](const Arrays& in) { return softmax(masked(in[0], mask ? std::optional(in[1]) : std::nullopt, s), s); };
  auto forward = [=](const Arrays& in) { return Arrays{mx::astype(drop(probabilities(in), kept, p, s), in[0].dtype(), s)}; };
  auto backward = [=](const Arrays& in, const Arrays& cotangents, const Arrays&) {
    auto y = probabilities(in);
    auto dy = drop(mx::astype(cotangents[0], mx::float32, s), kept, p, s);
    auto dx = mx::multiply(y, mx::subtract(dy, mx::sum(mx::multiply(dy, y, s), -1, true, s), s), s);
    Arrays gradients{mx::astype(dx, in[0].dtype(), s)};
    if (mask) gradients.push_back(mx::astype(mx::reshape(mx::sum(dx, {1, 2}, false, s), in[1].shape(), s), in[1].dtype(), s));
    return gradients;
  };
  Arrays inputs{x};
  if (mask) inputs.push_back(*mask);
  return {mx::custom_function(forward, backward)(inputs)[0], kept};
}

mx::array fused_softmax_dropout(const mx::array& x, float p, const std::optional<mx::array>& mask, const std::optional<mx::array>& key,
                                mx::StreamOrDevice s) {
  return fused_softmax_dropout_with_mask(x, p, mask, key, s).probabilities;
}

}  // namespace m2bert::ops
