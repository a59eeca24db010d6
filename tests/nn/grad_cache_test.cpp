#include "m2bert/nn/grad_cache.h"

#include <gtest/gtest.h>

#include "m2bert/error.h"
#include "m2bert/nn/linear.h"
#include "m2bert/nn/pass.h"
#include "m2bert/nn/retrieval_loss.h"

namespace m2bert::nn {
namespace {

// Dropout, a linear layer, dropout: an encoder in small.
class Encoder : public Module {
 public:
  Encoder() : linear_(8, 6) {
    linear_.weight = mx::random::normal({6, 8}, mx::float32, 0, 1, mx::random::key(1));
    linear_.bias = mx::random::normal({6}, mx::float32, 0, 1, mx::random::key(2));
  }
  void visit(Visitor& v) override { v("linear", linear_); }
  mx::array operator()(const mx::array& x, Pass& pass) const { return pass.dropout(linear_(pass.dropout(x, 0.3f)), 0.2f); }

 private:
  Linear linear_;
};

// Pieces of uneven size: 12 queries and passages, of which each piece has some.
struct GradCache : ::testing::Test {
  Encoder encoder;
  std::vector<NamedArray> params = parameters(encoder);
  mx::array inputs = mx::random::normal({12, 8}, mx::float32, 0, 1, mx::random::key(3));
  std::vector<int> cuts{0, 5, 6, 12};

  mx::array embed(int piece) const {
    auto pass = Pass::training(mx::random::key(uint64_t(piece) + 10));
    return encoder(mx::slice(inputs, {cuts[size_t(piece)], 0}, {cuts[size_t(piece) + 1], 8}), pass);
  }
  static mx::array loss(const Arrays& pieces) {
    const auto all = mx::concatenate(pieces, 0);
    return multiple_negatives_ranking_loss(mx::slice(all, {0, 0}, {6, 6}), mx::slice(all, {6, 0}, {12, 6}));
  }
  CachedLoss cached() const {
    return {3, [this](int piece) { return embed(piece); }, [](const Arrays& e) { return loss_and_grad(e, loss); }};
  }
};

TEST_F(GradCache, HasTheGradientOfTheWholeBatch) {
  const auto found = cached_value_and_grad(params, cached());
  const auto plain = value_and_grad(params, [&] { return loss({embed(0), embed(1), embed(2)}); });
  auto value = plain.value;
  EXPECT_NEAR(mx::array(found.value).item<float>(), value.item<float>(), 1e-6);
  ASSERT_EQ(found.grads.size(), plain.grads.size());
  for (size_t i = 0; i < plain.grads.size(); ++i) {
    const float largest = mx::max(mx::abs(plain.grads[i])).item<float>();
    EXPECT_GT(largest, 0);
    EXPECT_LT(mx::max(mx::abs(plain.grads[i] - found.grads[i])).item<float>(), 1e-5f * largest) << params[i].name;
  }
}

TEST_F(GradCache, StopsBetweenPieces) {
  int asked = 0;
  EXPECT_TRUE(cached_value_and_grad(params, cached(), [&] { return ++asked == 5; }).grads.empty());
  EXPECT_EQ(asked, 5);
}

TEST_F(GradCache, WantsAGradientForEachPiece) {
  auto wrong = cached();
  wrong.loss = [](const Arrays&) { return ValueAndGrad{mx::array(0.0f), {}}; };
  EXPECT_THROW(cached_value_and_grad(params, wrong), Error);
  wrong.pieces = 0;
  EXPECT_THROW(cached_value_and_grad(params, wrong), Error);
}

}  // namespace
}  // namespace m2bert::nn
