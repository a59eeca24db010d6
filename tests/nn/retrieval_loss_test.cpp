// Values by hand and edge cases; tests/parity compares values and gradients with sentence-transformers.
#include "m2bert/nn/retrieval_loss.h"

#include <gtest/gtest.h>

#include <cmath>

#include "m2bert/error.h"
#include "m2bert/nn/grad_cache.h"

namespace m2bert::nn {
namespace {

mx::array rows(std::initializer_list<float> values) { return mx::array(values.begin(), {int(values.size()) / 2, 2}); }

const mx::array kEast = rows({1, 0}), kNorth = rows({0, 3});

bool all_finite(const Arrays& arrays) {
  for (const auto& a : arrays)
    if (!mx::all(mx::isfinite(a)).item<bool>()) return false;
  return true;
}

TEST(RetrievalLoss, RankingOfKnownCosines) {
  const auto queries = rows({2, 0, 0, 1}), passages = rows({5, 0, 0, 7, 0, 1});
  // Query 0: cosines 1, 0, 0. Query 1: 0, 1, and 1 with the hard negative.
  const float expected = (std::log(std::exp(20.0f) + 2) - 20 + std::log(2 * std::exp(20.0f) + 1) - 20) / 2;
  EXPECT_NEAR(multiple_negatives_ranking_loss(queries, passages).item<float>(), expected, 1e-5);
  // The hard negative is as close as the positive: dropped with a margin above 0, kept without one.
  RankingOptions options;
  options.drop = FalseNegatives{FalseNegatives::Margin::absolute, 0.1f};
  EXPECT_NEAR(multiple_negatives_ranking_loss(queries, passages, options).item<float>(), 0, 1e-5);
  options.drop->margin = 0;
  EXPECT_NEAR(multiple_negatives_ranking_loss(queries, passages, options).item<float>(), expected, 1e-5);
}

TEST(RetrievalLoss, FalseNegativesByMargin) {
  const auto similarities = mx::array({0.9f, 0.75f, 0.2f}, {1, 3}), positive = mx::array({0.8f}, {1});
  auto dropped = [&](FalseNegatives rule) {
    const auto mask = false_negatives(similarities, positive, rule);
    return mx::sum(mx::astype(mask, mx::int32)).item<int>();
  };
  using enum FalseNegatives::Margin;
  EXPECT_EQ(dropped({absolute, 0}), 1);
  EXPECT_EQ(dropped({absolute, 0.06f}), 2);
  EXPECT_EQ(dropped({absolute, -0.11f}), 0);
  EXPECT_EQ(dropped({relative, 0.1f}), 2);
  EXPECT_EQ(dropped({relative, 0.8f}), 3);
}

TEST(RetrievalLoss, EqualTextsGiveFiniteGradients) {
  const auto same = rows({1, 2, 3, 4}), zero = mx::zeros({2, 2}), label = mx::array({1.0f, 0.0f});
  for (const auto& other : {same, zero}) {
    for (const auto distance : {Distance::cosine, Distance::euclidean}) {
      EXPECT_TRUE(all_finite(
          loss_and_grad({same, other}, [&](const Arrays& x) { return contrastive_loss(x[0], x[1], label, 0.5f, distance); }).grads));
      EXPECT_TRUE(all_finite(
          loss_and_grad({same, same, other}, [&](const Arrays& x) { return triplet_loss(x[0], x[1], x[2], 0.5f, distance); }).grads));
    }
    EXPECT_TRUE(
        all_finite(loss_and_grad({same, other}, [&](const Arrays& x) { return multiple_negatives_ranking_loss(x[0], x[1]); }).grads));
  }
}

TEST(RetrievalLoss, OrthogonalProjectionEndsAtCosineOneAndZero) {
  const auto label = mx::array({1.0f, 0.0f});
  const auto a = rows({1, 0, 1, 0});
  EXPECT_NEAR(orthogonal_projection_loss(a, rows({2, 0, 0, 1}), label).item<float>(), 0, 1e-6);
  EXPECT_NEAR(orthogonal_projection_loss(a, rows({0, 1, -1, 0}), label).item<float>(), 2, 1e-6);
}

TEST(RetrievalLoss, OnlineContrastiveKeepsHardPairs) {
  // Cosine distances: positives 0 and 1, negatives 0 and 1. Hard are the positive at 1 (above 0) and the negative at 0 (below 1).
  const auto a = rows({1, 0, 1, 0, 1, 0, 1, 0}), b = rows({1, 0, 0, 1, 1, 0, 0, 1});
  EXPECT_NEAR(online_contrastive_loss(a, b, mx::array({1, 1, 0, 0}), 0.5f).item<float>(), 1 + 0.25f, 1e-6);
  // Pairs with other labels are left out.
  EXPECT_NEAR(online_contrastive_loss(a, b, mx::array({2, 2, 2, 2}), 0.5f).item<float>(), 0, 1e-6);
}

TEST(RetrievalLoss, MatryoshkaWeighsItsDimensions) {
  // The first value alone: all cosines are 1.
  auto loss = [](const Arrays& x) { return mx::mean(cosine_similarity(x[0], x[1])); };
  EXPECT_NEAR(matryoshka_loss({kEast, rows({1, 1})}, {{2, 1}, {1, 0.5f}}, loss).item<float>(), std::sqrt(0.5f) + 0.5f, 1e-6);
  EXPECT_NEAR(matryoshka_loss({kEast, rows({1, 1})}, {{2, 1}, {}}, loss).item<float>(), std::sqrt(0.5f) + 1, 1e-6);
  EXPECT_THROW(matryoshka_loss({kEast, kNorth}, {{3}, {}}, loss), Error);
  EXPECT_THROW(matryoshka_loss({kEast, kNorth}, {{2}, {1, 1}}, loss), Error);
  EXPECT_THROW(matryoshka_loss({kEast, kNorth}, {{}, {}}, loss), Error);
}

TEST(RetrievalLoss, Float32WhateverTheEmbeddings) {
  const auto a = mx::astype(rows({1, 0, 0, 1}), mx::bfloat16), b = mx::astype(rows({1, 1, 0, 1}), mx::bfloat16);
  const auto label = mx::array({1, 0});
  for (auto loss : {multiple_negatives_ranking_loss(a, b), contrastive_loss(a, b, label), online_contrastive_loss(a, b, label),
                    triplet_loss(a, b, a), cosine_similarity_loss(a, b, label), mega_batch_margin_loss(a, b),
                    orthogonal_projection_loss(a, b, label), vector_distillation_loss(a, b)}) {
    EXPECT_EQ(loss.dtype(), mx::float32);
    EXPECT_TRUE(std::isfinite(loss.item<float>()));
  }
}

TEST(RetrievalLoss, NamesWrongShapes) {
  const auto two = mx::ones({2, 3}), three = mx::ones({3, 3});
  EXPECT_THROW(multiple_negatives_ranking_loss(three, two), Error);
  EXPECT_THROW(contrastive_loss(two, three, mx::ones({2})), Error);
  EXPECT_THROW(contrastive_loss(two, two, mx::ones({3})), Error);
  EXPECT_THROW(triplet_loss(two, two, three), Error);
  EXPECT_THROW(mega_batch_margin_loss(mx::ones({1, 3}), mx::ones({1, 3})), Error);
  EXPECT_THROW(margin_mse_loss({two, two}, mx::ones({2, 1})), Error);
  EXPECT_THROW(margin_mse_loss({two, two, two}, mx::ones({2, 3})), Error);
  EXPECT_THROW(kl_distillation_loss({two, two, two}, mx::ones({2, 2}), 0), Error);
}

}  // namespace
}  // namespace m2bert::nn
